// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Messages} from "./Messages.sol";

/// @title The uniform-price call auction, as the rule by which any result is judged.
/// @notice Strictly better than the price is filled whole, strictly worse not at all, exactly at the price on the long
/// side by cumulative rounding in slot order. With balanced sums this per-slot rule is the maximum welfare (linear
/// programming duality), so a wrong clearing breaks at one slot or at one sum. contracts/clearing_rules.py is the same
/// rule in Python; the faults stand in the same order, `None` first.
library ClearingRules {
    /// @notice How one slot refutes its auction, in the order in which it is looked for.
    enum SlotFault {
        None,
        OverfilledBefore,
        WrongFill,
        Expired,
        NotAtSharedPrice,
        AboveLo,
        BelowHi,
        NotAtLo,
        NotAtHi
    }

    /// @notice How an auction refutes itself without any slot.
    enum AuctionFault {
        None,
        PriceNotMidpoint,
        BoundsCrossed,
        BoundUnnamed,
        RationExceedsMargin,
        MarginWithoutSide,
        SumsUnbalanced
    }

    /// @notice Side of a bid that buys; every other value counts as selling.
    uint8 internal constant BUY = 0;

    /// @notice Rules of an auction: signed bids, shared deviations, deviations at standing limits.
    uint8 internal constant FORWARD = 0;
    uint8 internal constant SPOT_SHARED = 1;
    uint8 internal constant SPOT_AUCTION = 2;

    /// @notice Values of `longSide`.
    uint8 internal constant LONG_NONE = 0;
    uint8 internal constant LONG_BUY = 1;
    uint8 internal constant LONG_SELL = 2;

    /// @notice Stands where no account is named.
    uint32 internal constant NO_ACCOUNT = type(uint32).max;

    /// @notice The part of `give` that falls to `quantity` standing after `prefix` out of `total`.
    /// @dev floor((L+q)R/M) - floor(LR/M). A prefix is below 2**133, the others below 2**64: nothing overflows.
    function cumulativeShare(uint256 prefix, uint256 quantity, uint256 give, uint256 total)
        internal
        pure
        returns (uint256)
    {
        if (total == 0) return 0;
        return (prefix + quantity) * give / total - prefix * give / total;
    }

    /// @notice The fill that the rule gives `openWh` of a bid behind `prefixWh` of marginal quantity in slot order.
    function ruleFill(uint8 side, int64 limitPrice, uint256 openWh, Messages.Auction memory auction, uint256 prefixWh)
        internal
        pure
        returns (uint256)
    {
        bool buying = side == BUY;
        int256 advantage =
            buying ? int256(limitPrice) - int256(auction.price) : int256(auction.price) - int256(limitPrice);
        if (advantage > 0) return openWh;
        if (advantage < 0) return 0;
        if (auction.longSide != (buying ? LONG_BUY : LONG_SELL)) return openWh;
        return cumulativeShare(prefixWh, openWh, auction.rationedWh, auction.marginalWh);
    }

    /// @notice Whether a bid bounds the price from below (lo) and from above (hi).
    /// @dev An unfilled buyer and a filled seller hold the price up, a filled buyer and an unfilled seller down.
    function presses(uint8 side, uint256 openWh, uint256 fillWh) internal pure returns (bool toLo, bool toHi) {
        bool filled = fillWh > 0;
        bool unfilled = fillWh < openWh;
        return side == BUY ? (unfilled, filled) : (filled, unfilled);
    }

    /// @notice Quantity that takes part in a round that clears at `clearedAtS`: nothing of a bid that has expired.
    function offeredWh(Messages.Slot memory slot, uint64 clearedAtS) internal pure returns (uint256) {
        return slot.expiryS < clearedAtS ? 0 : slot.quantityWh - slot.filledBeforeWh;
    }

    /// @notice What is wrong with `slot` behind `prefixWh` of marginal quantity.
    function slotFault(Messages.Slot memory slot, Messages.Auction memory auction, uint256 prefixWh)
        internal
        pure
        returns (SlotFault)
    {
        if (slot.filledBeforeWh > slot.quantityWh) return SlotFault.OverfilledBefore;
        uint256 offered = offeredWh(slot, auction.clearedAtS);
        if (slot.fillWh != ruleFill(slot.side, slot.limitPrice, offered, auction, prefixWh)) {
            return SlotFault.WrongFill;
        }
        if (auction.rule != FORWARD && slot.expiryS < auction.clearedAtS) return SlotFault.Expired;
        if (auction.rule == SPOT_SHARED) {
            return slot.limitPrice == auction.price ? SlotFault.None : SlotFault.NotAtSharedPrice;
        }
        (bool toLo, bool toHi) = presses(slot.side, offered, slot.fillWh);
        if (toLo && (slot.limitPrice > auction.lo || auction.loAccount == NO_ACCOUNT)) return SlotFault.AboveLo;
        if (toHi && (slot.limitPrice < auction.hi || auction.hiAccount == NO_ACCOUNT)) return SlotFault.BelowHi;
        if (slot.account == auction.loAccount && !(toLo && slot.limitPrice == auction.lo)) return SlotFault.NotAtLo;
        if (slot.account == auction.hiAccount && !(toHi && slot.limitPrice == auction.hi)) return SlotFault.NotAtHi;
        return SlotFault.None;
    }

    /// @notice What is wrong with `auction` given the root sums of its slots tree.
    function auctionFault(Messages.Auction memory auction, uint256 buyWh, uint256 sellWh, uint256 marginalWh)
        internal
        pure
        returns (AuctionFault)
    {
        // An arithmetic shift is the floor, also below zero; a division would round towards zero.
        if (auction.price != (int256(auction.lo) + int256(auction.hi)) >> 1) return AuctionFault.PriceNotMidpoint;
        if (auction.lo > auction.hi) return AuctionFault.BoundsCrossed;
        if (auction.rule != SPOT_SHARED) {
            bool loNamed = auction.loAccount != NO_ACCOUNT;
            bool hiNamed = auction.hiAccount != NO_ACCOUNT;
            if (!(loNamed && hiNamed) && auction.lo != auction.hi) return AuctionFault.BoundUnnamed;
            if (!loNamed && !hiNamed && auction.lo != 0) return AuctionFault.BoundUnnamed;
        }
        if (auction.rationedWh > auction.marginalWh) return AuctionFault.RationExceedsMargin;
        if (auction.longSide == LONG_NONE && auction.marginalWh != 0) return AuctionFault.MarginWithoutSide;
        if (buyWh != sellWh || sellWh != auction.volumeWh || marginalWh != auction.marginalWh) {
            return AuctionFault.SumsUnbalanced;
        }
        return AuctionFault.None;
    }
}
