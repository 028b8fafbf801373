// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GridManagement} from "../src/GridManagement.sol";
import {Feeders} from "../src/grid/Feeders.sol";
import {GridStates} from "../src/grid/GridStates.sol";
import {PostingBounds} from "../src/grid/PostingBounds.sol";
import {GridSetting} from "./GridSetting.sol";

contract GridManagementTest is GridSetting {
    function lineOf(uint32 from, uint32 to) internal pure returns (Feeders.Line memory) {
        return Feeders.Line(from, to, 10_000, 5_000, 100);
    }

    // --- map ---

    function test_a_feeder_has_limits_and_a_zone() public {
        Feeders.FeederLimits memory limits = Feeders.FeederLimits(1, 2, 3);
        VM.expectEmit();
        emit Feeders.FeederSet(78, ZONE, limits);
        grid.setFeeder(78, limits, ZONE);
        Feeders.Feeder memory feeder = grid.feederOf(78);
        assertEq(feeder.limits.importW, 1);
        assertEq(feeder.limits.exportW, 2);
        assertEq(feeder.limits.volumeWh, 3);
        assertEq(feeder.zone, ZONE);
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownFeeder.selector, uint32(79)));
        grid.feederOf(79);
    }

    function test_a_feeder_keeps_its_states_when_its_limits_change() public {
        VM.startPrank(COORDINATOR);
        grid.setGridState(FEEDER, Feeders.GridState.Alert);
        grid.setBreakerState(FEEDER, Feeders.BreakerState.Open);
        VM.stopPrank();
        grid.setFeeder(FEEDER, Feeders.FeederLimits(1, 2, 3), ZONE);
        Feeders.Feeder memory feeder = grid.feederOf(FEEDER);
        assertEq(feeder.limits.exportW, 2);
        assertTrue(feeder.state == Feeders.GridState.Alert && feeder.breaker == Feeders.BreakerState.Open);
    }

    function test_zones_have_names_and_feeders_known_zones() public {
        VM.expectRevert(Feeders.NameMissing.selector);
        grid.defineZone(4, 0);
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownZone.selector, uint32(4)));
        grid.setFeeder(FEEDER, Feeders.FeederLimits(1, 2, 3), 4);
        VM.expectEmit();
        emit Feeders.ZoneDefined(4, keccak256("south"));
        grid.defineZone(4, keccak256("south"));
        assertEq(grid.zoneNameHash(4), keccak256("south"));
        grid.setFeeder(FEEDER, Feeders.FeederLimits(1, 2, 3), 4);
        assertEq(grid.feederOf(FEEDER).zone, 4);
    }

    function test_a_line_joins_two_known_zones() public {
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownZone.selector, uint32(4)));
        grid.setLine(1, lineOf(ZONE, 4));
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownZone.selector, uint32(4)));
        grid.setLine(1, lineOf(4, ZONE));
        VM.expectRevert(abi.encodeWithSelector(Feeders.LineIsLoop.selector, ZONE));
        grid.setLine(1, lineOf(ZONE, ZONE));
        grid.defineZone(4, keccak256("south"));
        VM.expectEmit();
        emit Feeders.LineSet(1, lineOf(ZONE, 4));
        grid.setLine(1, lineOf(ZONE, 4));
        assertEq(keccak256(abi.encode(grid.lineOf(1))), keccak256(abi.encode(lineOf(ZONE, 4))));
        VM.expectEmit();
        emit Feeders.LineRemoved(1);
        grid.removeLine(1);
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownLine.selector, uint32(1)));
        grid.lineOf(1);
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownLine.selector, uint32(1)));
        grid.removeLine(1);
    }

    // --- states ---

    function test_grid_states_follow_the_table_and_nothing_else() public view {
        bool[4][4] memory legal = [
            [false, true, true, false],
            [true, false, true, false],
            [false, false, false, true],
            [true, true, true, false]
        ];
        for (uint256 from = 0; from < 4; from++) {
            for (uint256 to = 0; to < 4; to++) {
                assertTrue(grid.mayFollow(Feeders.GridState(from), Feeders.GridState(to)) == legal[from][to]);
            }
        }
    }

    function test_breaker_states_follow_the_table_and_nothing_else() public view {
        bool[3][3] memory legal = [[false, true, false], [false, false, true], [true, true, false]];
        for (uint256 from = 0; from < 3; from++) {
            for (uint256 to = 0; to < 3; to++) {
                assertTrue(
                    grid.breakerMayFollow(Feeders.BreakerState(from), Feeders.BreakerState(to)) == legal[from][to]
                );
            }
        }
    }

    function test_an_emergency_ends_only_through_restoration() public {
        VM.startPrank(COORDINATOR);
        VM.expectEmit();
        emit GridStates.GridStateChanged(FEEDER, Feeders.GridState.Normal, Feeders.GridState.Emergency);
        grid.setGridState(FEEDER, Feeders.GridState.Emergency);
        VM.expectRevert(
            abi.encodeWithSelector(
                GridStates.IllegalGridTransition.selector, Feeders.GridState.Emergency, Feeders.GridState.Normal
            )
        );
        grid.setGridState(FEEDER, Feeders.GridState.Normal);
        grid.setGridState(FEEDER, Feeders.GridState.Restoring);
        grid.setGridState(FEEDER, Feeders.GridState.Normal);
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownFeeder.selector, uint32(1)));
        grid.setGridState(1, Feeders.GridState.Alert);
    }

    function test_no_breaker_closes_without_a_probation() public {
        VM.startPrank(COORDINATOR);
        VM.expectEmit();
        emit GridStates.BreakerStateChanged(FEEDER, Feeders.BreakerState.Closed, Feeders.BreakerState.Open);
        grid.setBreakerState(FEEDER, Feeders.BreakerState.Open);
        VM.expectRevert(
            abi.encodeWithSelector(
                GridStates.IllegalBreakerTransition.selector, Feeders.BreakerState.Open, Feeders.BreakerState.Closed
            )
        );
        grid.setBreakerState(FEEDER, Feeders.BreakerState.Closed);
        grid.setBreakerState(FEEDER, Feeders.BreakerState.HalfOpen);
        grid.setBreakerState(FEEDER, Feeders.BreakerState.Closed);
        assertTrue(grid.feederOf(FEEDER).breaker == Feeders.BreakerState.Closed);
        VM.expectRevert(abi.encodeWithSelector(Feeders.UnknownFeeder.selector, uint32(1)));
        grid.setBreakerState(1, Feeders.BreakerState.Open);
    }

    // --- bounds on posting ---

    function test_the_guardian_stops_and_only_the_admin_opens() public {
        VM.expectRevert(PostingBounds.NotStopped.selector);
        grid.openPosting();
        VM.prank(GUARDIAN);
        VM.expectEmit();
        emit PostingBounds.PostingStopped(GUARDIAN);
        grid.stopPosting();
        expectBounds(-500_000, 4_000_000, VOLUME_WH, false);
        VM.prank(GUARDIAN);
        VM.expectRevert(PostingBounds.IsStopped.selector);
        grid.stopPosting();
        VM.prank(GUARDIAN);
        expectUnauthorised(GUARDIAN);
        grid.openPosting();
        grid.openPosting();
        expectBounds(-500_000, 4_000_000, VOLUME_WH, true);
    }

    function test_no_state_of_the_grid_stops_posting() public {
        VM.startPrank(COORDINATOR);
        grid.setGridState(FEEDER, Feeders.GridState.Emergency);
        grid.setBreakerState(FEEDER, Feeders.BreakerState.Open);
        expectBounds(-500_000, 4_000_000, VOLUME_WH, true);
    }

    function test_strangers_may_do_nothing() public {
        bytes[11] memory calls = [
            abi.encodeCall(grid.defineZone, (1, keccak256("x"))),
            abi.encodeCall(grid.setFeeder, (FEEDER, Feeders.FeederLimits(1, 2, 3), ZONE)),
            abi.encodeCall(grid.setLine, (1, lineOf(1, 2))),
            abi.encodeCall(grid.removeLine, (1)),
            abi.encodeCall(grid.setGridState, (FEEDER, Feeders.GridState.Alert)),
            abi.encodeCall(grid.setBreakerState, (FEEDER, Feeders.BreakerState.Open)),
            abi.encodeCall(grid.stopPosting, ()),
            abi.encodeCall(grid.openPosting, ()),
            abi.encodeCall(grid.setPostingBounds, (oracle, 1)),
            abi.encodeWithSelector(grid.createEvent.selector, FEEDER, FIRST + 10, 4, 0, 1, 1),
            abi.encodeWithSelector(grid.enrol.selector, 0, 0x40, 0)
        ];
        for (uint256 i = 0; i < calls.length; i++) {
            VM.prank(ADA);
            expectUnauthorised(ADA);
            (bool done,) = address(grid).call(calls[i]);
            done;
        }
        VM.expectRevert(GridManagement.ZeroAddress.selector);
        new GridManagement(address(0), settlement, oracle, VOLUME_WH, CLAIM_PERIOD_S);
    }
}
