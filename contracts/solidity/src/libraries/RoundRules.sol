// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingRules} from "./ClearingRules.sol";
import {HeaderRules} from "./HeaderRules.sol";
import {Messages} from "./Messages.sol";
import {Products} from "./Products.sol";

/// @title How rounds follow each other: the chain of a product's auctions, the slots carried along it, the promises.
/// @notice Auctions of a header stand strictly by product and round; `previous` names the round before, and no two
/// rounds name the same one; a slot stays, its version never goes back, its position moves by the fill.
/// contracts/round_rules.py is the same in Python; the faults stand in the same order, `None` first. Whatever a leaf
/// claims is judged in int256, so that no claim makes a judgement revert.
library RoundRules {
    /// @notice How two neighbouring leaves of an auctions tree refute it.
    enum OrderFault {
        None,
        Gap,
        Unsorted
    }

    /// @notice How an auction contradicts the one that its `previous` names, or could be of no round at all.
    enum RoundFault {
        None,
        AnotherProduct,
        NotLater,
        AfterGate,
        NoProduct
    }

    /// @notice How two auctions at different leaves contradict each other.
    enum ForkFault {
        None,
        SamePlace
    }

    /// @notice How an account's slot contradicts its slot in the round before, in the order in which it is looked for.
    enum CarryFault {
        None,
        Dropped,
        WrongPosition,
        VersionBack,
        Retired,
        BidChanged,
        WrongFilledBefore
    }

    /// @notice How an auction breaks the operator's own receipt.
    enum ReceiptFault {
        None,
        Missing,
        Stale,
        Altered
    }

    /// @notice How a header breaks an order placed on chain.
    enum ForcedFault {
        None,
        RoundMissing,
        Ignored,
        WithdrawnUsed,
        AnotherProduct
    }

    /// @notice How the header in which a gate closes drops what was traded before.
    enum ClosingFault {
        None,
        RoundMissing
    }

    /// @notice How a slot of a spot round under the rule `SPOT_AUCTION` contradicts its home's standing order.
    enum StandingFault {
        None,
        WithoutOrder,
        WrongLimit,
        NotValid,
        NotByKey
    }

    /// @notice Versions from here on belong to bids that were placed on chain; they outrank every signed one.
    uint32 internal constant FORCED_VERSION = 1 << 31;

    /// @notice What is wrong with the leaves `index` and `index + 1` of an auctions tree.
    function orderFault(
        uint256 index,
        bool hasFirst,
        Messages.Auction memory first,
        bool hasSecond,
        Messages.Auction memory second
    ) internal pure returns (OrderFault) {
        if (!hasFirst) return hasSecond ? OrderFault.Gap : OrderFault.None;
        // Leaf 0 is the spot round, outside the order.
        if (!hasSecond || index == 0) return OrderFault.None;
        bool isOrdered =
            first.product < second.product || (first.product == second.product && first.round < second.round);
        return isOrdered ? OrderFault.None : OrderFault.Unsorted;
    }

    /// @notice What is wrong with `auction` after `before`, whose struct hash it carries.
    function roundFault(Messages.Auction memory auction, Messages.Auction memory before)
        internal
        pure
        returns (RoundFault)
    {
        if (before.product != auction.product || before.rule != ClearingRules.FORWARD) {
            return RoundFault.AnotherProduct;
        }
        if (before.round >= auction.round || before.clearedAtS >= auction.clearedAtS) return RoundFault.NotLater;
        return RoundFault.None;
    }

    /// @notice What is wrong with a forward auction of `product` in the header of `interval`: after the gate nothing
    /// that it fills would be delivered, yet it would move the positions that are reserved for.
    function gateFault(uint64 product, uint64 gateLeads, uint64 interval) internal pure returns (RoundFault) {
        if (!Products.isLegal(product)) return RoundFault.NoProduct;
        (, int256 closing) = Products.closingInterval(product, gateLeads);
        return closing < int256(uint256(interval)) ? RoundFault.AfterGate : RoundFault.None;
    }

    /// @notice Whether two auctions at different leaves claim the same place in a product's chain of rounds.
    function forkFault(Messages.Auction memory one, Messages.Auction memory other) internal pure returns (ForkFault) {
        bool isForward = one.rule == ClearingRules.FORWARD && other.rule == ClearingRules.FORWARD;
        bool isFork = isForward && one.product == other.product && one.previous == other.previous;
        return isFork ? ForkFault.SamePlace : ForkFault.None;
    }

    /// @notice Whether a slot keeps nothing of an order placed on chain but its version and what it has traded.
    function isRetired(Messages.Slot memory slot) internal pure returns (bool) {
        return slot.version >= FORCED_VERSION && slot.quantityWh == 0;
    }

    /// @notice What is wrong with `slot` in a round at `price` after `before` in the round before.
    /// @param isWithdrawn the slot's order was placed on chain and closed there before the round
    function carryFault(
        bool hasSlot,
        Messages.Slot memory slot,
        bool hasBefore,
        Messages.Slot memory before,
        int64 price,
        bool isWithdrawn
    ) internal pure returns (CarryFault) {
        if (!hasSlot) return hasBefore ? CarryFault.Dropped : CarryFault.None;
        if (!_isMoved(slot, hasBefore, before, price)) return CarryFault.WrongPosition;
        if (slot.version == 0 || (hasBefore && slot.version < before.version)) return CarryFault.VersionBack;
        bool retired = isRetired(slot);
        if (!hasBefore || slot.version > before.version) {
            if (retired && !isWithdrawn) return CarryFault.Retired;
            return slot.filledBeforeWh == 0 ? CarryFault.None : CarryFault.WrongFilledBefore;
        }
        if (retired) return isWithdrawn || isRetired(before) ? CarryFault.None : CarryFault.Retired;
        if (!_isSameBid(slot, before) || slot.signatureHash != before.signatureHash) return CarryFault.BidChanged;
        // In uint256, so that what was filled may exceed a uint64.
        bool isSame = slot.filledBeforeWh == uint256(before.filledBeforeWh) + before.fillWh;
        return isSame ? CarryFault.None : CarryFault.WrongFilledBefore;
    }

    /// @notice What is wrong with the account's slot in `auction` under a receipt of a bid.
    function receiptFault(
        Messages.Receipt memory receipt,
        Messages.Auction memory auction,
        bool hasSlot,
        Messages.Slot memory slot
    ) internal pure returns (ReceiptFault) {
        bool isCovered = auction.rule == ClearingRules.FORWARD && auction.product == receipt.product
            && auction.round >= receipt.round && auction.clearedAtS >= receipt.clearsAtS;
        if (!isCovered) return ReceiptFault.None;
        if (!hasSlot) return ReceiptFault.Missing;
        if (slot.version < receipt.version) return ReceiptFault.Stale;
        bool isAltered = slot.version == receipt.version && bidHash(slot) != receipt.bidHash;
        return isAltered ? ReceiptFault.Altered : ReceiptFault.None;
    }

    /// @notice What is wrong with the closing round for an order that stands on chain.
    function forcedFault(uint32 orderVersion, bool hasClosing, bool hasSlot, uint32 slotVersion)
        internal
        pure
        returns (ForcedFault)
    {
        if (!hasClosing) return ForcedFault.RoundMissing;
        return hasSlot && slotVersion >= orderVersion ? ForcedFault.None : ForcedFault.Ignored;
    }

    /// @notice Whether a standing order is valid at the instant in which the interval `settled` begins.
    function isValid(Messages.StandingOrder memory order, int256 settled) internal pure returns (bool) {
        int256 startsAtS = settled * int256(HeaderRules.INTERVAL_S);
        if (startsAtS < int256(uint256(order.validFromS))) return false;
        return order.validUntilS == 0 || startsAtS < int256(uint256(order.validUntilS));
    }

    /// @notice What is wrong with a slot's limit in a spot round. `order` is what its signature hash commits to; none
    /// where that is zero.
    function standingFault(
        Messages.Slot memory slot,
        bool hasOrder,
        Messages.StandingOrder memory order,
        bool isSigned,
        Messages.Header memory header,
        int256 settled
    ) internal pure returns (StandingFault) {
        bool buying = slot.side == ClearingRules.BUY;
        if (!hasOrder) {
            int64 tariff = buying ? header.tariffImport : header.tariffExport;
            bool isTariff = slot.version == 0 && slot.limitPrice == tariff;
            return isTariff ? StandingFault.None : StandingFault.WithoutOrder;
        }
        int64 limit = buying ? order.maxBuyPrice : order.minSellPrice;
        if (order.account != slot.account || order.version != slot.version || slot.limitPrice != limit) {
            return StandingFault.WrongLimit;
        }
        if (!isValid(order, settled)) return StandingFault.NotValid;
        return isSigned ? StandingFault.None : StandingFault.NotByKey;
    }

    /// @notice Struct hash of the bid that a slot claims its account has placed.
    function bidHash(Messages.Slot memory slot) internal pure returns (bytes32) {
        return Messages.hashStruct(
            Messages.Bid(
                slot.account, slot.product, slot.version, slot.side, slot.quantityWh, slot.limitPrice, slot.expiryS
            )
        );
    }

    /// @dev Of two slots with one version. Account and product are those of leaf and auction, judged with the leaf.
    function _isSameBid(Messages.Slot memory slot, Messages.Slot memory before) private pure returns (bool) {
        return slot.side == before.side && slot.quantityWh == before.quantityWh && slot.limitPrice == before.limitPrice
            && slot.expiryS == before.expiryS;
    }

    /// @dev Position and cost are those before, and the fill at the price.
    function _isMoved(Messages.Slot memory slot, bool hasBefore, Messages.Slot memory before, int64 price)
        private
        pure
        returns (bool)
    {
        int256 fillWh = int256(uint256(slot.fillWh));
        if (slot.side != ClearingRules.BUY) fillWh = -fillWh;
        int256 heldWh = hasBefore ? int256(before.positionWh) : int256(0);
        int256 heldNano = hasBefore ? int256(before.positionCostNano) : int256(0);
        return slot.positionWh == heldWh + fillWh && slot.positionCostNano == heldNano + fillWh * price;
    }
}
