// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyToken} from "../src/EnergyToken.sol";
import {DataDemands} from "../src/challenges/DataDemands.sol";
import {BalanceProof, MeterProof} from "../src/challenges/Proofs.sol";
import {Question} from "../src/challenges/demands/DemandBook.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {DemandCast} from "./DemandCast.sol";

/// @dev Demands, answers, challenges and refunds in any order, about headers that come, go and become final.
contract DemandWorld is DemandCast {
    ISettlement.HeaderProof[] internal headers;
    mapping(uint256 id => ISettlement.HeaderProof header) internal about;
    mapping(uint256 id => Question question) internal asked;
    mapping(uint256 id => uint32 account) internal subject;
    uint256 public open;
    bool public hasLostUnasked;

    constructor() {
        setUp();
    }

    function setUp() public override {
        require(address(settlement) == address(0), "there is one world");
        super.setUp();
        carryOn();
    }

    function core() external view returns (DataDemands, EnergyToken) {
        return (demands, token);
    }

    function carryOn() public {
        headers.push(postBy(blank()));
    }

    function ask(uint8 which, bool ofBalance, uint8 account) external {
        ISettlement.HeaderProof memory header = headers[headers.length - 1 - which % headers.length % 3];
        Question question = ofBalance ? Question.Balance : Question.Meter;
        VM.prank(ADA);
        uint256 id = demands.demand(header, question, noAuction, account);
        (about[id], asked[id], subject[id]) = (header, question, account);
        open++;
    }

    /// @dev The last demand that is open.
    function lastOpen() internal view returns (uint256 id) {
        id = demands.demandCount();
        while (id != 0) {
            try demands.demandOf(id) {
                return id;
            } catch {
                id--;
            }
        }
    }

    function answer(bool wrongly) external {
        uint256 id = lastOpen();
        MeterProof memory meter;
        BalanceProof memory balance;
        (meter.path, balance.path) = (emptyPath(), emptyPath());
        bool ofBalance = (asked[id] == Question.Balance) != wrongly;
        if (ofBalance) demands.answerBalance(id, about[id], subject[id], balance);
        else demands.answerMeter(id, about[id], subject[id], meter);
        if (wrongly) hasLostUnasked = true;
        open--;
    }

    function challenge(bool late) external {
        uint256 id = lastOpen();
        if (late) VM.warp(uint256(demands.demandOf(id).deadlineS) + 1);
        uint64 deadlineS = demands.demandOf(id).deadlineS;
        demands.challengeUnanswered(id, about[id]);
        if (now_() <= deadlineS) hasLostUnasked = true;
        open--;
        while (headers.length > about[id].index) {
            headers.pop();
        }
    }

    function getBack(uint8 which) external {
        uint256 id = lastOpen() - which % 4;
        demands.refund(id);
        open--;
    }

    function lie(uint8 which) external {
        if (which % 4 != 0) return;
        uint256 index = headers.length - 1 - which / 4 % 2;
        voidFor(BO, headers[index]);
        while (headers.length > index) {
            headers.pop();
        }
    }

    function restart() external {
        VM.prank(GOVERNANCE);
        settlement.restart(BOND, VM.addr(OPERATOR_KEY));
    }

    function finish(uint8 which) external {
        if (which % 8 == 0) VM.warp(now_() + WINDOW_S);
        settlement.finalise(headers[settlement.finalisedCount() + which % 2]);
    }

    function wait(uint16 seconds_) external {
        VM.warp(now_() + seconds_ % 1_000);
    }
}

contract DemandInvariantsTest is DemandCast {
    DemandWorld internal world;

    function setUp() public override {
        world = new DemandWorld();
        (demands, token) = world.core();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(world);
    }

    /// @dev One fee for each demand that is open, and nothing else.
    function invariant_the_token_held_is_the_fees_of_open_demands() external view {
        assertEq(token.balanceOf(address(demands)), world.open() * FEE);
    }

    /// @dev Nothing answers another question, and no header is lost while its demand can be answered.
    function invariant_no_header_is_lost_in_time_and_no_demand_by_another_answer() external view {
        assertTrue(!world.hasLostUnasked());
    }
}
