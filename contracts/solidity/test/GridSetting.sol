// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GridManagement} from "../src/GridManagement.sol";
import {PriceOracle} from "../src/PriceOracle.sol";
import {Feeders} from "../src/grid/Feeders.sol";
import {QuorumOracle} from "../src/oracles/QuorumOracle.sol";
import {GridCast} from "./GridCast.sol";

/// @dev A grid with the roles as they are meant to be, a zone and a feeder.
abstract contract GridSetting is GridCast {
    uint32 internal constant ZONE = 3;
    uint32 internal constant FEEDER = 77;
    uint64 internal constant VOLUME_WH = 5_000_000;
    uint256 internal constant CLAIM_PERIOD_S = 14 days;

    PriceOracle internal oracle;
    GridManagement internal grid;

    function setUp() public virtual override {
        super.setUp();
        oracle =
            new PriceOracle(address(manager), -500_000, 4_000_000, QuorumOracle.Terms(600, 3_600, 100, 5_000, 50_000));
        grid = new GridManagement(address(manager), settlement, oracle, VOLUME_WH, CLAIM_PERIOD_S);
        oracle.setListener(grid);
        permit(address(grid), grid.stopPosting.selector, GUARDIAN_ROLE);
        permit(address(grid), grid.setGridState.selector, COORDINATOR_ROLE);
        permit(address(grid), grid.setBreakerState.selector, COORDINATOR_ROLE);
        permit(address(grid), grid.createEvent.selector, COORDINATOR_ROLE);
        permit(address(grid), grid.enrol.selector, COORDINATOR_ROLE);
        grid.defineZone(ZONE, keccak256("north"));
        grid.setFeeder(FEEDER, Feeders.FeederLimits(400_000, 250_000, 60_000), ZONE);
    }

    function expectBounds(int256 floor, int256 cap, uint256 volumeWh, bool open) internal view {
        (int64 priceFloor, int64 priceCap, uint64 volumeLimitWh, bool isOpen) = grid.postingBounds();
        assertEq(priceFloor, floor);
        assertEq(priceCap, cap);
        assertEq(volumeLimitWh, volumeWh);
        assertTrue(isOpen == open);
    }
}
