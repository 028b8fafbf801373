// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GridManagement} from "../src/GridManagement.sol";
import {DemandResponse} from "../src/grid/DemandResponse.sol";
import {Coin, GridCast} from "./GridCast.sol";
import {FlexibilityCast} from "./FlexibilityCast.sol";

/// @dev A coordinator, two homes and whoever claims and returns, in any order and at any pace. Headers are final with
/// whatever registers a claim likes: the money must be safe from all of them.
contract Neighbourhood is FlexibilityCast {
    constructor() {
        setUp();
    }

    function setUp() public override {
        require(address(grid) == address(0), "there is one world");
        super.setUp();
    }

    function world() external view returns (GridManagement, Coin) {
        return (grid, coin);
    }

    /// @dev One of the newest events.
    function newest(uint8 which) internal view returns (uint256) {
        return grid.eventCount() - 1 - which % 2;
    }

    function announce(uint8 ahead, uint8 intervals, uint32 price, uint40 budget, bool increase) external {
        VM.warp(clock);
        VM.prank(COORDINATOR);
        grid.createEvent(
            FEEDER,
            uint64(clock / 900) + 1 + ahead % 8,
            1 + intervals % 8,
            increase ? INCREASE : REDUCE,
            1 + price,
            uint128(budget) + 1e9
        );
    }

    function invite(uint8 which, uint8 who, int32 baselineWh, uint16 capWh) external {
        VM.warp(clock);
        enrol(newest(which), 1 + who % 2, baselineWh, 1 + capWh);
    }

    function pass(uint32 seconds_) external {
        warp(clock + seconds_ % 2 hours);
    }

    function passPeriods(uint8 seldom) external {
        if (seldom % 4 == 0) warp(clock + CLAIM_PERIOD_S);
    }

    function claim(uint8 which, uint8 who, uint32 imported, uint32 exported) external {
        VM.warp(clock);
        uint256 id = newest(which);
        DemandResponse.FlexibilityEvent memory flexibility = grid.eventOf(id);
        uint64 first = flexibility.firstInterval;
        Settled memory opening = settle(first - 1, [uint64(7), 7], [uint64(9), 9]);
        Settled memory closing = settle(
            first + flexibility.intervals - 1,
            [7 + uint64(imported), 7 + imported],
            [9 + uint64(exported), 9 + exported]
        );
        uint256 home = who % 2;
        grid.claimReward(id, uint32(home + 1), proofOf(opening, home), proofOf(closing, home));
    }

    function giveBack(uint8 which) external {
        VM.warp(clock);
        grid.returnBudget(which % grid.eventCount());
    }
}

contract RewardInvariants is GridCast {
    Neighbourhood internal neighbourhood;
    GridManagement internal grid;

    function setUp() public override {
        neighbourhood = new Neighbourhood();
        (grid, coin) = neighbourhood.world();
    }

    function targetContracts() external view returns (address[] memory all) {
        all = new address[](1);
        all[0] = address(neighbourhood);
    }

    /// @dev It holds what its open events have not spent, and nothing else.
    function invariant_it_holds_what_open_events_have_not_spent() external view {
        uint256 leftNano;
        for (uint256 id = 0; id < grid.eventCount(); id++) {
            DemandResponse.FlexibilityEvent memory flexibility = grid.eventOf(id);
            if (!flexibility.returned) leftNano += flexibility.budgetNano - flexibility.spentNano;
        }
        assertEq(coin.balanceOf(address(grid)), leftNano * 10);
    }

    /// @dev What events spent is what the owners of the accounts were paid.
    function invariant_what_was_spent_is_what_owners_got() external view {
        uint256 spentNano;
        for (uint256 id = 0; id < grid.eventCount(); id++) {
            spentNano += grid.eventOf(id).spentNano;
        }
        assertEq(coin.balanceOf(ADA) + coin.balanceOf(BO), spentNano * 10);
    }

    /// @dev Rewards are within the caps, the caps at their price within the budget.
    function invariant_rewards_keep_to_caps_and_caps_to_the_budget() external view {
        for (uint256 id = 0; id < grid.eventCount(); id++) {
            DemandResponse.FlexibilityEvent memory flexibility = grid.eventOf(id);
            uint256 capsWh;
            uint256 deliveredWh;
            for (uint32 account = 1; account <= 2; account++) {
                DemandResponse.Enrolment memory part = grid.enrolmentOf(id, account);
                assertTrue(part.deliveredWh <= part.capWh && (part.claimed || part.deliveredWh == 0));
                capsWh += part.capWh;
                deliveredWh += part.deliveredWh;
            }
            assertEq(deliveredWh, grid.deliveredWh(id));
            assertEq(deliveredWh * flexibility.priceNanoPerWh, flexibility.spentNano);
            assertEq(capsWh * flexibility.priceNanoPerWh, flexibility.reservedNano);
            assertTrue(flexibility.reservedNano <= flexibility.budgetNano);
        }
    }

    function test_the_neighbourhood_earns_and_returns() external {
        neighbourhood.announce(3, 3, 999, 0, false);
        neighbourhood.invite(0, 0, 500, 1_000);
        neighbourhood.claim(0, 0, 200, 0);
        assertEq(coin.balanceOf(ADA), 300 * 1_000 * 10);
        neighbourhood.passPeriods(0);
        neighbourhood.pass(2 hours - 1);
        neighbourhood.pass(2 hours - 1);
        neighbourhood.giveBack(0);
        assertEq(coin.balanceOf(address(grid)), 0);
    }
}
