// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {DemandResponse} from "../src/grid/DemandResponse.sol";
import {GridSetting} from "./GridSetting.sol";

/// @dev Events of four intervals with Ada and Bo, paid by the coordinator.
abstract contract FlexibilityCast is GridSetting {
    uint64 internal constant BEGIN = FIRST + 8;
    uint8 internal constant LENGTH = 4;
    uint64 internal constant PRICE = 300_000; // 0.30 per kWh, in nano per Wh
    uint128 internal constant BUDGET = 1_000e9;
    DemandResponse.Direction internal constant REDUCE = DemandResponse.Direction.Reduce;
    DemandResponse.Direction internal constant INCREASE = DemandResponse.Direction.Increase;

    function setUp() public virtual override {
        super.setUp();
        coin.mint(COORDINATOR, 1_000_000e10);
        VM.prank(COORDINATOR);
        coin.approve(address(grid), type(uint256).max);
    }

    function create(DemandResponse.Direction direction) internal returns (uint256) {
        return createAt(BEGIN, LENGTH, direction);
    }

    function createAt(uint64 first, uint8 intervals, DemandResponse.Direction direction) internal returns (uint256) {
        VM.prank(COORDINATOR);
        return grid.createEvent(FEEDER, first, intervals, direction, PRICE, BUDGET);
    }

    function offer(uint32 account, int64 baselineWh, uint64 capWh)
        internal
        pure
        returns (DemandResponse.Offer[] memory offers)
    {
        offers = new DemandResponse.Offer[](1);
        offers[0] = DemandResponse.Offer(account, baselineWh, capWh);
    }

    function enrol(uint256 id, uint32 account, int64 baselineWh, uint64 capWh) internal {
        VM.prank(COORDINATOR);
        grid.enrol(id, offer(account, baselineWh, capWh));
    }

    function proofOf(Settled memory settled, uint256 who) internal pure returns (DemandResponse.RegisterProof memory) {
        return DemandResponse.RegisterProof(settled.header, settled.meters[who], settled.evidence[who]);
    }

    /// @dev Settles both ends of an event with these registers of Ada; Bo's are a hundred times hers.
    function ends(uint64 importBefore, uint64 exportBefore, uint64 importAfter, uint64 exportAfter)
        internal
        returns (Settled memory opening, Settled memory closing)
    {
        opening = settle(BEGIN - 1, [importBefore, importBefore * 100], [exportBefore, exportBefore * 100]);
        closing = settle(BEGIN + LENGTH - 1, [importAfter, importAfter * 100], [exportAfter, exportAfter * 100]);
    }
}
