// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingRules} from "./ClearingRules.sol";
import {Messages} from "./Messages.sol";
import {MeterRules} from "./MeterRules.sol";

/// @title What a header must hold besides clearing: which auction stands where, and how each balance moves.
/// @notice A header of interval t commits to the auctions cleared in t and settles interval t - grace. Leaf 0 of its
/// auctions tree is the spot round of the settled interval. contracts/header_rules.py is the same in Python.
library HeaderRules {
    /// @notice Why an auction may not stand at its leaf.
    enum PlacementFault {
        None,
        SpotMisplaced,
        SpotPriceDiffers,
        ClearedOutsideInterval
    }

    /// @notice How a balance contradicts the leaves it follows from.
    enum BalanceFault {
        None,
        SpotIsNotDeviation,
        WrongCumulative
    }

    /// @notice An account's leaves of one settled interval; what is absent counts as zero.
    struct Settled {
        int256 beforeNano;
        int256 afterNano;
        bool hasMeter;
        Messages.MeterLeaf meter;
        bool hasSlot;
        Messages.Slot slot;
    }

    /// @notice Length of an interval in seconds.
    uint256 internal constant INTERVAL_S = 900;

    /// @notice A product's number is its first interval times this, plus its length in intervals.
    uint256 internal constant PRODUCT_LENGTH_FACTOR = 1024;

    /// @notice Round number of the auction of deviations, after delivery.
    uint32 internal constant SPOT_ROUND = 0xFFFF;

    /// @notice What is wrong with `auction` standing at leaf `index` of `header`, where every spot round is by `spotRule`.
    function placementFault(
        uint256 index,
        Messages.Auction memory auction,
        Messages.Header memory header,
        uint256 graceIntervals,
        uint8 spotRule
    ) internal pure returns (PlacementFault) {
        bool isSpot = auction.rule != ClearingRules.FORWARD;
        if (isSpot != (index == 0) || (auction.round == SPOT_ROUND) != isSpot) return PlacementFault.SpotMisplaced;
        if (isSpot) {
            // Before the first whole grace period the settled interval is negative and equals no product.
            int256 settled = int256(uint256(header.interval)) - int256(graceIntervals);
            int256 product = settled * int256(PRODUCT_LENGTH_FACTOR) + 1;
            if (int256(uint256(auction.product)) != product) return PlacementFault.SpotMisplaced;
            if (auction.rule != spotRule || auction.previous != bytes32(0)) return PlacementFault.SpotMisplaced;
            if (auction.price != header.spotPrice) return PlacementFault.SpotPriceDiffers;
        }
        if (auction.clearedAtS / INTERVAL_S != header.interval) return PlacementFault.ClearedOutsideInterval;
        return PlacementFault.None;
    }

    /// @notice Change of an account's result by one settled interval: contracted energy at its cost, the filled part
    /// of the deviation at the spot price, the rest with the supplier at the tariff.
    function settlementDelta(Messages.MeterLeaf memory meter, uint256 spotFillWh, Messages.Header memory header)
        internal
        pure
        returns (int256 nano)
    {
        int256 deviationWh = meter.deviationWh;
        int256 fillWh = int256(spotFillWh);
        int256 spotNano = int256(header.spotPrice) * fillWh;
        int256 costNano = deviationWh >= 0
            ? spotNano + int256(header.tariffImport) * (deviationWh - fillWh)
            : -spotNano - int256(header.tariffExport) * (-deviationWh - fillWh);
        return -(MeterRules.contractedCostNano(meter) + costNano);
    }

    /// @notice What is wrong with one account's move. Not for the supplier, whose balance makes all sum to zero.
    function balanceFault(Settled memory account, Messages.Header memory header) internal pure returns (BalanceFault) {
        int256 deviationWh = account.hasMeter ? int256(account.meter.deviationWh) : int256(0);
        int256 tradedWh = 0;
        if (account.hasSlot) {
            int256 openWh = int256(uint256(account.slot.quantityWh)) - int256(uint256(account.slot.filledBeforeWh));
            tradedWh = account.slot.side == ClearingRules.BUY ? openWh : -openWh;
        }
        if (tradedWh != deviationWh) return BalanceFault.SpotIsNotDeviation;
        int256 moveNano = 0;
        if (account.hasMeter) {
            moveNano = settlementDelta(account.meter, account.hasSlot ? account.slot.fillWh : 0, header);
        }
        return account.afterNano == account.beforeNano + moveNano ? BalanceFault.None : BalanceFault.WrongCumulative;
    }
}
