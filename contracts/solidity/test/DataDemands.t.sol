// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {DataDemands} from "../src/challenges/DataDemands.sol";
import {BalanceProof, MeterProof} from "../src/challenges/Proofs.sol";
import {DemandBook, Question} from "../src/challenges/demands/DemandBook.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {LeakyBucket} from "../src/libraries/LeakyBucket.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {DemandCast} from "./DemandCast.sol";

/// @dev Time, money and who may do what, by the simplest question: an empty meter leaf.
contract DemandBookTest is DemandCast {
    ISettlement.HeaderProof internal header;
    MeterProof internal noMeter;

    function setUp() public override {
        super.setUp();
        header = postBy(blank());
        noMeter.path = emptyPath();
    }

    function ask(address demander) internal returns (uint256) {
        VM.prank(demander);
        return demands.demand(header, Question.Meter, noAuction, 1);
    }

    function waitUntilTheLastSecondOf(uint256 id) internal {
        VM.warp(demands.demandOf(id).deadlineS);
    }

    function test_an_answer_earns_the_fee_even_in_the_very_last_second() public {
        uint256 had = token.balanceOf(ADA);
        uint256 id = ask(ADA);
        assertEq(id, 1);
        assertEq(demands.demandCount(), 1);
        assertEq(had - token.balanceOf(ADA), FEE);
        assertEq(demands.demandOf(id).deadlineS, block.timestamp + ANSWER_S);
        waitUntilTheLastSecondOf(id);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.StillAnswerable.selector, now_()));
        demands.challengeUnanswered(id, header);
        had = token.balanceOf(COORDINATOR);
        VM.prank(COORDINATOR);
        demands.answerMeter(id, header, 1, noMeter);
        assertEq(token.balanceOf(COORDINATOR) - had, FEE);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.UnknownDemand.selector, id));
        demands.answerMeter(id, header, 1, noMeter);
        VM.warp(now_() + 1);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.UnknownDemand.selector, id));
        demands.challengeUnanswered(id, header);
    }

    function test_a_second_later_the_header_is_void_for_the_demanders_reward() public {
        uint256 had = token.balanceOf(ADA);
        uint256 id = ask(ADA);
        waitUntilTheLastSecondOf(id);
        VM.warp(now_() + 1);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.TooLate.selector, now_() - 1));
        demands.answerMeter(id, header, 1, noMeter);
        VM.prank(BO);
        demands.challengeUnanswered(id, header);
        assertEq(settlement.headerCount(), 0);
        assertTrue(settlement.halted());
        // Half of the bond, whoever pushed it; and the fee.
        assertEq(token.balanceOf(ADA) - had, BOND / 2);
        assertEq(token.balanceOf(address(demands)), 0);
    }

    function test_a_header_is_asked_about_until_two_answer_windows_before_it_may_be_final() public {
        uint256 lastS = settlement.postedAt(0) + WINDOW_S - 2 * ANSWER_S;
        VM.warp(lastS + 1);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.TooLate.selector, lastS));
        ask(ADA);
        VM.warp(lastS);
        uint256 id = ask(ADA);
        VM.warp(uint256(settlement.postedAt(0)) + WINDOW_S - 1);
        VM.expectPartialRevert(ISettlement.StillChallengeable.selector);
        settlement.finalise(header);
        demands.challengeUnanswered(id, header);
        assertEq(settlement.headerCount(), 0);
    }

    function test_void_and_final_headers_are_not_asked_about() public {
        Messages.Header memory other = header.header;
        other.volumeWh = 1;
        VM.expectPartialRevert(ISettlement.UnknownHeader.selector);
        demands.demand(ISettlement.HeaderProof(other, 0), Question.Meter, noAuction, 1);
        VM.warp(uint256(settlement.postedAt(0)) + WINDOW_S);
        settlement.finalise(header);
        VM.expectPartialRevert(ISettlement.AlreadyFinal.selector);
        ask(ADA);
        assertEq(token.balanceOf(address(demands)), 0);
    }

    function test_who_cannot_pay_does_not_ask() public {
        VM.expectRevert();
        ask(COORDINATOR);
        assertEq(demands.demandCount(), 0);
    }

    function test_the_same_demand_twice_is_two_fees_and_two_answers() public {
        (uint256 one, uint256 two) = (ask(ADA), ask(BO));
        uint256 had = token.balanceOf(address(this));
        demands.answerMeter(one, header, 1, noMeter);
        demands.answerMeter(two, header, 1, noMeter);
        assertEq(token.balanceOf(address(this)) - had, 2 * FEE);
    }

    function test_demands_about_a_header_that_is_void_are_refunded() public {
        (uint256 one, uint256 two) = (ask(ADA), ask(BO));
        VM.expectRevert(abi.encodeWithSelector(DemandBook.StillOpen.selector, two));
        demands.refund(two);
        waitUntilTheLastSecondOf(one);
        VM.warp(now_() + 1);
        demands.challengeUnanswered(one, header);
        uint256 had = token.balanceOf(BO);
        demands.refund(two);
        assertEq(token.balanceOf(BO) - had, FEE);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.UnknownDemand.selector, two));
        demands.refund(two);
        assertEq(token.balanceOf(address(demands)), 0);
    }

    function test_a_header_that_is_posted_anew_owes_no_answer_to_an_old_demand() public {
        uint256 id = ask(ADA);
        VM.warp(now_() + 1);
        voidFor(BO, header);
        VM.startPrank(GOVERNANCE);
        settlement.restart(BOND, VM.addr(OPERATOR_KEY));
        VM.stopPrank();
        ISettlement.HeaderProof memory again = postBy(header.header);
        assertEq(digestOf(again.header), digestOf(header.header));
        waitUntilTheLastSecondOf(id);
        VM.warp(now_() + 1);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.challengeUnanswered(id, again);
        assertEq(settlement.headerCount(), 1);
        demands.refund(id);
        assertEq(token.balanceOf(address(demands)), 0);
    }

    function test_a_demand_that_nobody_pursued_is_refunded_once_the_header_is_final() public {
        uint256 id = ask(ADA);
        waitUntilTheLastSecondOf(id);
        VM.warp(now_() + 1);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.StillOpen.selector, id));
        demands.refund(id);
        VM.warp(uint256(settlement.postedAt(0)) + WINDOW_S);
        settlement.finalise(header);
        VM.expectPartialRevert(ISettlement.AlreadyFinal.selector);
        demands.challengeUnanswered(id, header);
        demands.refund(id);
        assertEq(token.balanceOf(address(demands)), 0);
    }

    function test_evidence_about_something_else_is_no_answer() public {
        uint256 id = ask(ADA);
        BalanceProof memory noBalance;
        noBalance.path = emptyPath();
        ISettlement.HeaderProof memory other = postBy(blank());
        bytes memory notAsked = abi.encodeWithSelector(DemandBook.NotAsked.selector, id);
        VM.expectRevert(notAsked);
        demands.answerMeter(id, header, 2, noMeter);
        VM.expectRevert(notAsked);
        demands.answerMeter(id, other, 1, noMeter);
        VM.expectRevert(notAsked);
        demands.answerMeter(id, ISettlement.HeaderProof(header.header, 1), 1, noMeter);
        VM.expectRevert(notAsked);
        demands.answerBalance(id, header, 1, noBalance);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.UnknownDemand.selector, 0));
        demands.answerMeter(0, header, 1, noMeter);
        VM.warp(now_() + 2 * ANSWER_S);
        VM.expectRevert(notAsked);
        demands.challengeUnanswered(id, other);
        assertEq(settlement.headerCount(), 2);
    }

    function test_a_hundred_demands_in_one_go_and_then_one_a_minute() public {
        for (uint256 i = 0; i < 100; i++) {
            demands.demand(header, Question.Meter, noAuction, uint32(i));
        }
        VM.expectRevert(abi.encodeWithSelector(LeakyBucket.RateLimited.selector, now_() + 60));
        demands.demand(header, Question.Meter, noAuction, 1);
        ask(ADA);
        VM.warp(now_() + 60);
        demands.demand(header, Question.Meter, noAuction, 1);
        VM.expectPartialRevert(LeakyBucket.RateLimited.selector);
        demands.demand(header, Question.Meter, noAuction, 1);
    }

    function test_a_deployment_leaves_time_to_answer_and_to_challenge() public {
        VM.expectRevert(abi.encodeWithSelector(DemandBook.WindowTooShort.selector, WINDOW_S / 2));
        new DataDemands(settlement, WINDOW_S / 2, FEE, COVER_LAG, 0, 0);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.WindowTooShort.selector, 0));
        new DataDemands(settlement, 0, FEE, COVER_LAG, 0, 0);
        DataDemands other = new DataDemands(settlement, WINDOW_S / 2 - 1, FEE, COVER_LAG, 5, 9);
        assertEq(other.capacity(), 5);
        assertEq(other.leakS(), 9);
        assertEq(other.feeNano(), FEE);
        assertEq(other.answerWindowS(), WINDOW_S / 2 - 1);
        assertEq(other.coverLag(), COVER_LAG);
    }
}
