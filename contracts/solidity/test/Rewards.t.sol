// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/grid/DemandResponse.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {MeterProofs} from "../src/libraries/MeterProofs.sol";
import {SettledRegisters} from "../src/libraries/SettledRegisters.sol";
import {FlexibilityCast} from "./FlexibilityCast.sol";
import {FinalHeaders} from "./GridCast.sol";

contract RewardsTest is FlexibilityCast {
    // --- rewards ---

    function test_less_import_than_the_baseline_is_paid_to_the_owner() public {
        uint256 id = create(REDUCE);
        enrol(id, 1, 2_000, 1_500);
        (Settled memory opening, Settled memory closing) = ends(10_000, 500, 11_300, 600);
        VM.expectEmit();
        emit DemandResponse.RewardPaid(id, 1, ADA, 800, 800 * uint256(PRICE));
        VM.prank(BO);
        uint256 reward = grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0));
        assertEq(reward, 800 * uint256(PRICE));
        assertEq(coin.balanceOf(ADA), reward * 10);
        assertEq(grid.deliveredWh(id), 800);
        assertEq(grid.enrolmentOf(id, 1).deliveredWh, 800);
        assertTrue(grid.enrolmentOf(id, 1).claimed);
        assertEq(grid.eventOf(id).spentNano, reward);
    }

    function test_more_import_than_the_baseline_is_paid_when_more_is_asked() public {
        uint256 id = create(INCREASE);
        enrol(id, 1, -1_000, 5_000);
        (Settled memory opening, Settled memory closing) = ends(10_000, 500, 10_100, 900);
        assertEq(grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0)), 700 * uint256(PRICE));
    }

    function test_the_cap_ends_the_reward_and_the_wrong_direction_earns_nothing() public {
        uint256 id = create(REDUCE);
        enrol(id, 1, 2_000, 500);
        enrol(id, 2, 0, 500);
        (Settled memory opening, Settled memory closing) = ends(100, 0, 110, 0);
        assertEq(grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0)), 500 * uint256(PRICE));
        assertEq(grid.claimReward(id, 2, proofOf(opening, 1), proofOf(closing, 1)), 0);
        assertEq(coin.balanceOf(BO), 0);
        assertEq(grid.deliveredWh(id), 500);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyClaimed.selector, uint32(2)));
        grid.claimReward(id, 2, proofOf(opening, 1), proofOf(closing, 1));
    }

    /// @dev Against the formula, written down once more in wide numbers.
    function testFuzz_a_reward_is_what_was_delivered_at_the_price(
        int32 baselineWh,
        uint32 capWh,
        uint64[2] memory before,
        uint32[2] memory moved,
        bool increase
    ) public {
        uint256 id = create(increase ? INCREASE : REDUCE);
        uint64 cap = 1 + capWh % uint64(BUDGET / PRICE);
        enrol(id, 1, baselineWh, cap);
        (uint64 imported, uint64 exported) = (before[0] >> 1, before[1] >> 1);
        Settled memory opening = settle(BEGIN - 1, [imported, 0], [exported, 0]);
        Settled memory closing = settle(BEGIN + LENGTH - 1, [imported + moved[0], 0], [exported + moved[1], 0]);
        grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0));
        int256 wh = int256(baselineWh) + int256(uint256(moved[1])) - int256(uint256(moved[0]));
        if (increase) wh = -wh;
        if (wh < 0) wh = 0;
        if (wh > int256(uint256(cap))) wh = int256(uint256(cap));
        assertEq(coin.balanceOf(ADA), uint256(wh) * PRICE * 10);
        assertEq(grid.deliveredWh(id), uint256(wh));
        assertTrue(coin.balanceOf(address(grid)) + coin.balanceOf(ADA) == uint256(BUDGET) * 10);
    }

    function test_the_extremes_of_all_numbers_are_clamped() public {
        uint256 id = create(REDUCE);
        enrol(id, 1, type(int64).max, 10);
        uint256 other = createAt(BEGIN + LENGTH, 1, INCREASE);
        enrol(other, 1, type(int64).min, 10);
        uint64 top = type(uint64).max;
        Settled memory opening = settle(BEGIN - 1, [uint64(0), 0], [uint64(0), 0]);
        Settled memory middle = settle(BEGIN + LENGTH - 1, [uint64(0), 0], [top, 0]);
        Settled memory closing = settle(BEGIN + LENGTH, [top, 0], [top, 0]);
        assertEq(grid.claimReward(id, 1, proofOf(opening, 0), proofOf(middle, 0)), 10 * uint256(PRICE));
        assertEq(grid.claimReward(other, 1, proofOf(middle, 0), proofOf(closing, 0)), 10 * uint256(PRICE));
    }

    // --- what earns nothing ---

    function claims() internal returns (uint256 id, Settled memory opening, Settled memory closing) {
        id = create(REDUCE);
        enrol(id, 1, 2_000, 1_500);
        (opening, closing) = ends(10_000, 500, 11_000, 600);
    }

    function expectRefused(bytes memory reason, Settled memory opening, Settled memory closing) internal {
        VM.expectRevert(reason);
        grid.claimReward(0, 1, proofOf(opening, 0), proofOf(closing, 0));
    }

    function test_a_reward_is_paid_once() public {
        (uint256 id, Settled memory opening, Settled memory closing) = claims();
        grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0));
        expectRefused(abi.encodeWithSelector(DemandResponse.AlreadyClaimed.selector, uint32(1)), opening, closing);
    }

    function test_only_who_was_enrolled_is_paid() public {
        (uint256 id, Settled memory opening, Settled memory closing) = claims();
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.NotEnrolled.selector, uint32(2)));
        grid.claimReward(id, 2, proofOf(opening, 1), proofOf(closing, 1));
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.UnknownEvent.selector, 1));
        grid.claimReward(1, 1, proofOf(opening, 0), proofOf(closing, 0));
    }

    function test_headers_of_other_intervals_prove_nothing() public {
        (, Settled memory opening, Settled memory closing) = claims();
        Settled memory other = settle(BEGIN, [uint64(10_000), 0], [uint64(500), 0]);
        bytes memory wrong = abi.encodeWithSelector(DemandResponse.SettlesAnother.selector, BEGIN);
        expectRefused(wrong, other, closing);
        expectRefused(wrong, opening, other);
        expectRefused(
            abi.encodeWithSelector(DemandResponse.SettlesAnother.selector, BEGIN + LENGTH - 1), closing, opening
        );
        expectRefused(abi.encodeWithSelector(DemandResponse.SettlesAnother.selector, BEGIN - 1), opening, opening);
        // The header *of* the interval before the event settles an earlier one.
        other = settle(BEGIN - 1 - GRACE, [uint64(10_000), 0], [uint64(500), 0]);
        assertEq(other.header.header.interval, BEGIN - 1);
        expectRefused(abi.encodeWithSelector(DemandResponse.SettlesAnother.selector, BEGIN - 1 - GRACE), other, closing);
    }

    function test_headers_that_are_not_final_prove_nothing() public {
        (, Settled memory opening, Settled memory closing) = claims();
        opening.header.header.volumeWh = 1;
        expectRefused(abi.encodePacked(FinalHeaders.NotFinal.selector), opening, closing);
        opening.header.header.volumeWh = 0;
        closing.header.index = opening.header.index;
        expectRefused(abi.encodePacked(FinalHeaders.NotFinal.selector), opening, closing);
    }

    function test_a_leaf_of_another_account_proves_nothing() public {
        (uint256 id, Settled memory opening, Settled memory closing) = claims();
        VM.expectRevert(abi.encodeWithSelector(MeterProofs.MeterNotInTree.selector, uint32(1)));
        grid.claimReward(id, 1, proofOf(opening, 1), proofOf(closing, 0));
        closing.meters[0].leaf.importRegisterWh -= 1;
        expectRefused(abi.encodeWithSelector(MeterProofs.MeterNotInTree.selector, uint32(1)), opening, closing);
    }

    function test_an_account_without_a_leaf_is_paid_nothing() public {
        (, Settled memory opening, Settled memory closing) = claims();
        MeterProofs.MeterProof memory absent;
        absent.leaf.account = 1;
        absent.path = closing.meters[0].path;
        closing.meters[0] = absent;
        expectRefused(abi.encodeWithSelector(MeterProofs.MeterNotInTree.selector, uint32(1)), opening, closing);
    }

    function test_a_meter_that_was_never_read_earns_nothing() public {
        (,, Settled memory closing) = claims();
        Settled memory opening;
        Messages.MeterLeaf[2] memory leaves;
        (leaves[0].account, leaves[1].account) = (1, 2);
        commit(opening, BEGIN - 1, leaves);
        expectRefused(abi.encodeWithSelector(SettledRegisters.NeverRead.selector, uint32(1)), opening, closing);
    }

    function test_a_home_that_keeps_its_reading_back_earns_nothing() public {
        (, Settled memory opening,) = claims();
        // No reading came: the leaf at the end carries the registers from before the event, as if nothing were used.
        Settled memory closing =
            settleWith(BEGIN + LENGTH - 1, readingOf(1, BEGIN - 1, 10_000, 500), readingOf(2, BEGIN, 0, 0));
        bytes memory stale = abi.encodeWithSelector(SettledRegisters.ReadInAnotherInterval.selector, uint64(BEGIN - 1));
        expectRefused(stale, opening, closing);
        closing.evidence[0].reading.interval = BEGIN + LENGTH - 1;
        expectRefused(abi.encodePacked(SettledRegisters.AnotherReading.selector), opening, closing);
        closing.evidence[0].reading.interval = BEGIN - 1;
        closing.evidence[0].signatureHash = 0;
        expectRefused(abi.encodePacked(SettledRegisters.AnotherReading.selector), opening, closing);
    }

    function test_registers_that_ran_backwards_earn_nothing() public {
        uint256 id = create(REDUCE);
        enrol(id, 1, 2_000, 1_500);
        (Settled memory opening, Settled memory closing) = ends(100, 50, 99, 60);
        expectRefused(abi.encodePacked(DemandResponse.RegistersRanBackwards.selector), opening, closing);
        closing = settle(BEGIN + LENGTH - 1, [uint64(100), 0], [uint64(49), 0]);
        expectRefused(abi.encodePacked(DemandResponse.RegistersRanBackwards.selector), opening, closing);
    }

    function test_a_token_that_calls_back_is_paid_once() public {
        (uint256 id, Settled memory opening, Settled memory closing) = claims();
        bytes memory again = abi.encodeCall(grid.claimReward, (id, 1, proofOf(opening, 0), proofOf(closing, 0)));
        coin.tell(address(grid), again);
        grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0));
        assertTrue(!coin.wentThrough());
        assertEq(coin.balanceOf(ADA), 1_100 * uint256(PRICE) * 10);
        warp(grid.claimableUntilS(id));
        coin.tell(address(grid), abi.encodeCall(grid.returnBudget, (id)));
        grid.returnBudget(id);
        assertTrue(!coin.wentThrough());
        assertEq(coin.balanceOf(address(grid)), 0);
    }

    // --- what is left ---

    function test_what_is_unspent_returns_after_the_claim_period() public {
        (uint256 id, Settled memory opening, Settled memory closing) = claims();
        uint256 untilS = uint256(BEGIN + LENGTH) * 900 + CLAIM_PERIOD_S;
        assertEq(grid.claimableUntilS(id), untilS);
        grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0));
        warp(untilS - 1);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.StillClaimable.selector, untilS));
        grid.returnBudget(id);
        warp(untilS);
        uint256 held = coin.balanceOf(COORDINATOR);
        uint256 left = BUDGET - 1_100 * uint256(PRICE);
        VM.expectEmit();
        emit DemandResponse.BudgetReturned(id, COORDINATOR, left);
        VM.prank(BO);
        grid.returnBudget(id);
        assertEq(coin.balanceOf(COORDINATOR), held + left * 10);
        assertEq(coin.balanceOf(address(grid)), 0);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyReturned.selector, id));
        grid.returnBudget(id);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.UnknownEvent.selector, 1));
        grid.returnBudget(1);
    }

    function test_a_late_claim_counts_until_the_budget_has_gone_back() public {
        (uint256 id, Settled memory opening, Settled memory closing) = claims();
        enrol(id, 2, 200_000, 1);
        warp(grid.claimableUntilS(id) + 1 days);
        grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0));
        grid.returnBudget(id);
        VM.expectRevert(abi.encodeWithSelector(DemandResponse.AlreadyReturned.selector, id));
        grid.claimReward(id, 2, proofOf(opening, 1), proofOf(closing, 1));
    }

    function test_one_events_budget_never_pays_for_another() public {
        uint256 id = create(REDUCE);
        uint64 most = uint64(BUDGET / PRICE);
        enrol(id, 1, type(int64).max, most);
        uint256 other = createAt(BEGIN + LENGTH, 1, REDUCE);
        (Settled memory opening, Settled memory closing) = ends(0, 0, 0, 0);
        grid.claimReward(id, 1, proofOf(opening, 0), proofOf(closing, 0));
        assertTrue(grid.eventOf(id).budgetNano - grid.eventOf(id).spentNano < PRICE);
        warp(grid.claimableUntilS(other));
        grid.returnBudget(id);
        assertEq(coin.balanceOf(address(grid)), uint256(BUDGET) * 10);
        grid.returnBudget(other);
        assertEq(coin.balanceOf(address(grid)), 0);
    }
}
