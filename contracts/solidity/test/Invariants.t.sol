// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {EnergyToken} from "../src/EnergyToken.sol";
import {Settlement} from "../src/Settlement.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Cast} from "./Cast.sol";

/// @dev Does whatever anybody may do, in any order: pays in, posts, lies, challenges, finalises, halts, caps, waits,
/// takes out. A header is a lie where the world says so; the challenge contract is told and believes nothing else.
contract World is Cast {
    ISettlement.HeaderProof[] internal posted;
    int128[] internal results;
    bool[] internal lies;
    int128 internal finalResult;
    uint256 public taken;
    bool public hasOverdrawn;
    bool public wasHeldBack;

    constructor() {
        setUp();
    }

    function setUp() public override {
        require(address(settlement) == address(0), "there is one world");
        super.setUp();
        VM.prank(GOVERNANCE);
        settlement.setGuardian(GUARDIAN);
    }

    function core() external view returns (Settlement, EnergyToken) {
        return (settlement, token);
    }

    function headers() external view returns (ISettlement.HeaderProof[] memory) {
        return posted;
    }

    function pay(uint8 account, uint64 amount) external {
        settlement.deposit(account % 3, amount);
    }

    function addBond(uint64 amount) external {
        settlement.postBond(amount);
    }

    function takeBond(uint64 amount) external {
        VM.prank(GOVERNANCE);
        settlement.releaseBond(amount);
    }

    function truth(int32 result) external {
        (bytes32 root,) = balancesOf(leafOf(1, result, 0), leafOf(2, -int128(result), 0), 1);
        remember(post(nextHeader(root)), result, false);
    }

    function lie() external {
        remember(post(nextHeader(keccak256("a lie"))), 0, true);
    }

    function challenge(uint8 which) external {
        uint256 index = which % posted.length;
        if (which % 2 == 0) index = firstLie();
        require(lies[index], "an honest header is not voided");
        voidFor(BO, posted[index]);
        while (posted.length > index) {
            posted.pop();
            results.pop();
            lies.pop();
        }
    }

    /// @dev What is final was watched: whoever waits out the window has looked at every header in it.
    function finish(uint8 which) external {
        uint256 first = settlement.finalisedCount();
        uint256 index = first + which % 3;
        for (uint256 i = first; i <= index; i++) {
            require(!lies[i], "a lie is challenged first");
        }
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(posted[index]);
        finalResult = results[index];
    }

    function take(uint64 seed) external {
        int256 cashNano = int256(settlement.depositedNano(1)) - int256(taken) + finalResult;
        // Mostly what is allowed, sometimes one more.
        uint256 amount = cashNano < 0 ? 1 : seed % (uint256(cashNano) + 2);
        (, bytes memory path) = balancesOf(leafOf(1, finalResult, 0), leafOf(2, -finalResult, 0), 1);
        bool isOpen = settlement.finalBalancesRoot() == bytes32(0);
        bool isAllowed = cashNano >= 0 && amount <= uint256(cashNano) && amount <= settlement.outflowFreeNano()
            && (!isOpen || settlement.headerCount() == 0);
        VM.prank(ADA);
        try settlement.withdraw(1, amount, leafOf(1, isOpen ? int128(0) : finalResult, 0), path) {
            taken += amount;
            if (int256(taken) > int256(settlement.depositedNano(1)) + finalResult) hasOverdrawn = true;
        } catch {
            if (isAllowed) wasHeldBack = true;
        }
    }

    function cap(uint64 amount) external {
        VM.prank(GOVERNANCE);
        settlement.setOutflowCap(amount);
    }

    function wait(uint16 minutes_) external {
        VM.warp(block.timestamp + uint256(minutes_) * 60);
    }

    function stop() external {
        VM.prank(GUARDIAN);
        settlement.halt();
    }

    function start() external {
        VM.prank(GOVERNANCE);
        settlement.restart(BOND, COORDINATOR);
    }

    function compensate(uint64 amount) external {
        VM.prank(GOVERNANCE);
        settlement.compensate(2, amount);
    }

    function firstLie() private view returns (uint256 index) {
        while (!lies[index]) index++;
    }

    function remember(ISettlement.HeaderProof memory proof, int128 result, bool isLie) private {
        posted.push(proof);
        results.push(result);
        lies.push(isLie);
    }
}

contract InvariantsTest is Cast {
    World internal world;

    function setUp() public override {
        world = new World();
        (settlement, token) = world.core();
    }

    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(world);
    }

    /// @dev The token held is exactly what is pooled, the fund and the bond: nothing is created, nothing is stuck.
    function invariant_every_nano_is_accounted_for() external view {
        uint256 claims = settlement.pooledNano() + settlement.fundNano() + settlement.bondNano();
        assertEq(token.balanceOf(address(settlement)), claims);
    }

    /// @dev What is pooled is deposits less withdrawals.
    function invariant_the_pool_is_deposits_less_withdrawals() external view {
        uint256 deposited;
        uint256 withdrawn;
        for (uint32 account = 0; account < settlement.accountCount(); account++) {
            deposited += settlement.depositedNano(account);
            withdrawn += settlement.withdrawnNano(account);
        }
        assertEq(settlement.pooledNano(), deposited - withdrawn);
    }

    /// @dev Nobody ever took more than his final cash.
    function invariant_withdrawals_stay_within_final_cash() external view {
        assertTrue(!world.hasOverdrawn());
    }

    /// @dev Whatever is halted, void or capped: cash that is final and free left whenever it was asked for.
    function invariant_nothing_stops_free_cash_from_leaving() external view {
        assertTrue(!world.wasHeldBack());
    }

    /// @dev Each header names the one before, intervals have no gaps, the tip is the last, and what is final stays.
    function invariant_the_chain_of_headers_is_unbroken() external view {
        ISettlement.HeaderProof[] memory posted = world.headers();
        assertEq(settlement.headerCount(), posted.length);
        assertTrue(settlement.finalisedCount() <= posted.length);
        bytes32 previous;
        for (uint256 i = 0; i < posted.length; i++) {
            assertEq(posted[i].header.previous, previous);
            assertEq(posted[i].index, i);
            if (i > 0) assertEq(posted[i].header.interval, posted[i - 1].header.interval + 1);
            previous = digestOf(posted[i].header);
            assertEq(uint256(settlement.commitments(i) ^ previous) >> 40, 0);
            settlement.requirePosted(posted[i]);
            if (i > 0) assertTrue(settlement.postedAt(i) >= settlement.postedAt(i - 1));
        }
        assertEq(settlement.tipDigest(), previous);
    }
}
