// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {BalanceProof} from "../src/challenges/Proofs.sol";
import {DemandBook} from "../src/challenges/demands/DemandBook.sol";
import {PromiseDemands} from "../src/challenges/demands/PromiseDemands.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Commitments} from "../src/libraries/Commitments.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {PromiseCast} from "./PromiseCast.sol";
import {Lists} from "./Lists.sol";

/// @dev What covered the growth of a reserve? Ada's, account 1, with deposits of 100.
contract CoverTest is PromiseCast {
    Messages.Header internal noHeader;
    BalanceProof internal noBalance;
    Commitments.Commitment[] internal noList;
    Messages.Bid[] internal noOrders;

    ISettlement.HeaderProof[] internal headers;
    BalanceProof[] internal balances;

    function setUp() public override {
        super.setUp();
        settlement.deposit(1, 100e9);
    }

    function close(int128 resultNano, uint128 reservedNano, bytes32 listHash) internal {
        (ISettlement.HeaderProof memory proof, BalanceProof memory balance) =
            balanced(Messages.BalanceLeaf(1, resultNano, reservedNano, listHash));
        headers.push(proof);
        balances.push(balance);
    }

    function ask() internal returns (uint256) {
        uint256 last = headers.length - 1;
        return demands.demandCover(headers[last], 1, headers[last - 1].header, balances[last - 1], balances[last]);
    }

    function growth() internal view returns (PromiseDemands.Growth memory) {
        Messages.BalanceLeaf memory leaf = balances[balances.length - 1].leaf;
        return PromiseDemands.Growth(
            1, leaf.reservedNano, balances[balances.length - 2].leaf.reservedNano, leaf.commitmentsHash
        );
    }

    function answer(uint256 id, uint256 by) internal {
        uint256 last = headers.length - 1;
        send(
            abi.encodeCall(
                demands.answerCover, (id, headers[last], growth(), headers[by], balances[by], noList, noOrders)
            )
        );
    }

    function test_a_result_of_a_header_within_the_lag_covers() public {
        close(50e9, 0, 0);
        close(60e9, 20e9, 0);
        close(-30e9, 20e9, 0);
        close(-30e9, 150e9, 0);
        uint256 id = ask();
        VM.expectRevert(wrongEvidence);
        this.answers(id, 0);
        VM.expectRevert(notCovered);
        this.answers(id, 2);
        answer(id, 1);
        assertEq(token.balanceOf(address(demands)), 0);
    }

    function answers(uint256 id, uint256 by) external {
        answer(id, by);
    }

    function test_a_later_header_or_a_balance_of_another_account_covers_nothing() public {
        close(0, 0, 0);
        close(0, 101e9, 0);
        uint256 id = ask();
        PromiseDemands.Growth memory grown_ = growth();
        (ISettlement.HeaderProof memory later, BalanceProof memory rich) = balanced(Messages.BalanceLeaf(1, 1e12, 0, 0));
        VM.expectRevert(wrongEvidence);
        demands.answerCover(id, headers[1], grown_, later, rich, noList, noOrders);
        rich.leaf.cumulativeNano = 1e13;
        VM.expectRevert(notInTree);
        demands.answerCover(id, headers[1], grown_, headers[0], rich, noList, noOrders);
        later.index = 7;
        VM.expectPartialRevert(ISettlement.UnknownHeader.selector);
        demands.answerCover(id, headers[1], grown_, later, rich, noList, noOrders);
        grown_.reservedBeforeNano = 101e9;
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.answerCover(id, headers[1], grown_, headers[0], balances[0], noList, noOrders);
    }

    function test_what_did_not_grow_or_is_covered_is_not_asked() public {
        close(0, 150e9, 0);
        close(-50e9, 150e9, 0);
        VM.expectRevert(nothingToAsk);
        this.asks();
        close(0, 49e9, 0);
        VM.expectRevert(nothingToAsk);
        this.asks();
        close(0, 100e9, 0);
        VM.expectRevert(nothingToAsk);
        this.asks();
        // The same growth by one nano more than deposits and the result before.
        close(0, 100e9 + 1, 0);
        uint256 id = ask();
        VM.expectRevert(notCovered);
        this.answers(id, 3);
    }

    function asks() external {
        ask();
    }

    function test_a_deposit_after_the_demand_covers() public {
        close(0, 0, 0);
        close(0, 101e9, 0);
        uint256 id = ask();
        settlement.deposit(1, 1e9);
        answer(id, 0);
    }

    function test_the_first_header_grows_from_nothing() public {
        close(0, 101e9, 0);
        uint256 id = demands.demandCover(headers[0], 1, noHeader, noBalance, balances[0]);
        PromiseDemands.Growth memory all = PromiseDemands.Growth(1, 101e9, 0, 0);
        VM.expectRevert(notCovered);
        demands.answerCover(id, headers[0], all, headers[0], balances[0], noList, noOrders);
        settlement.deposit(1, 1e9);
        demands.answerCover(id, headers[0], all, headers[0], balances[0], noList, noOrders);
    }

    function test_an_account_without_a_balance_before_grows_from_nothing() public {
        headers.push(postBy(blank()));
        BalanceProof memory absent;
        absent.path = emptyPath();
        balances.push(absent);
        close(0, 101e9, 0);
        uint256 id = ask();
        VM.expectRevert(notCovered);
        this.answers(id, 0);
        settlement.deposit(1, 1e9);
        answer(id, 0);
    }

    function test_the_supplier_and_an_account_without_a_balance_are_not_asked_about() public {
        close(0, 101e9, 0);
        VM.expectRevert(nothingToAsk);
        demands.demandCover(headers[0], 0, noHeader, noBalance, balances[0]);
        VM.expectRevert(nothingToAsk);
        demands.demandCover(headers[0], 1, noHeader, noBalance, noBalance);
        VM.expectRevert(notInTree);
        demands.demandCover(headers[0], 2, noHeader, noBalance, balances[0]);
        close(0, 102e9, 0);
        VM.expectRevert(notInTree);
        demands.demandCover(headers[1], 1, headers[1].header, balances[0], balances[1]);
        VM.expectRevert(notInTree);
        demands.demandCover(headers[1], 1, headers[0].header, balances[1], balances[1]);
    }

    function forcedBid(uint256 amount) internal returns (Messages.Bid memory bid) {
        uint256 expiry = now_() + 1 days;
        VM.prank(ADA);
        uint256 id = trading.createOrder(amount, 200_000, expiry, IEnergyTrading.OrderType.BUY);
        return Messages.Bid(
            1, trading.intervalOf(id) * 1024 + 1, FORCED | uint32(id), 0, uint64(amount), 200_000, uint64(expiry)
        );
    }

    function test_orders_placed_on_chain_need_no_cover_but_what_else_grew_does() public {
        close(0, 0, 0);
        Messages.Bid[] memory orders = new Messages.Bid[](2);
        orders[0] = forcedBid(1_000_000);
        VM.warp(now_() + 900);
        orders[1] = forcedBid(2_000_000);
        Commitments.Commitment[] memory list = new Commitments.Commitment[](3);
        list[0] = Commitments.Commitment(orders[0].product, 200e9, 0);
        list[1] = Commitments.Commitment(orders[1].product, 400e9, 1e9);
        list[2] = Commitments.Commitment(orders[1].product + 1024, 100e9, 0);
        close(0, 701e9, Lists.hashOf(list));
        uint256 id = ask();
        PromiseDemands.Growth memory grown_ = growth();
        send(abi.encodeCall(demands.answerCover, (id, headers[1], grown_, headers[0], balances[0], list, orders)));

        id = ask();
        Messages.Bid[] memory one = new Messages.Bid[](1);
        one[0] = orders[1];
        VM.expectRevert(notCovered);
        demands.answerCover(id, headers[1], grown_, headers[0], balances[0], list, one);
        (orders[0], orders[1]) = (orders[1], orders[0]);
        VM.expectRevert(wrongEvidence);
        demands.answerCover(id, headers[1], grown_, headers[0], balances[0], list, orders);
        orders[1] = orders[0];
        VM.expectRevert(wrongEvidence);
        demands.answerCover(id, headers[1], grown_, headers[0], balances[0], list, orders);
        one[0].quantityWh++;
        VM.expectRevert(wrongEvidence);
        demands.answerCover(id, headers[1], grown_, headers[0], balances[0], list, one);
        one[0].quantityWh--;
        one[0].account = 2;
        VM.expectRevert(wrongEvidence);
        demands.answerCover(id, headers[1], grown_, headers[0], balances[0], list, one);
        one[0].account = 1;
        list[0].bidNano++;
        VM.expectRevert(wrongEvidence);
        demands.answerCover(id, headers[1], grown_, headers[0], balances[0], list, one);
    }

    function test_an_order_placed_on_chain_leaves_the_reserve_before_as_it_was() public {
        // 150 of 100 were covered once; only the order is new.
        close(0, 150e9, 0);
        Messages.Bid[] memory orders = new Messages.Bid[](1);
        orders[0] = forcedBid(1_000_000);
        Commitments.Commitment[] memory list = new Commitments.Commitment[](2);
        list[0] = Commitments.Commitment(orders[0].product, 200e9, 0);
        list[1] = Commitments.Commitment(orders[0].product + 1024, 150e9, 0);
        close(0, 350e9, Lists.hashOf(list));
        uint256 id = ask();
        demands.answerCover(id, headers[1], growth(), headers[0], balances[0], list, orders);
        // A list that owes more than the reserve is another lie; here it leaves nothing to cover.
        list[0].bidNano = 1e15;
        close(0, 360e9, Lists.hashOf(list));
        id = ask();
        demands.answerCover(id, headers[2], growth(), headers[1], balances[1], list, orders);
    }
}
