// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IForcedBids} from "../interfaces/IForcedBids.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {ClearingRules} from "../libraries/ClearingRules.sol";
import {HeaderRules} from "../libraries/HeaderRules.sol";
import {Messages} from "../libraries/Messages.sol";
import {Products} from "../libraries/Products.sol";
import {RoundRules} from "../libraries/RoundRules.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Challenge} from "./Challenge.sol";
import {AuctionProof, SlotProof} from "./Proofs.sol";

/// @title Lies in how rounds follow each other: order, chain, carried slots, receipts, orders placed on chain.
/// @notice An account's slots hang on a chain: the auctions of a header stand in order, so that absence is shown by two
/// neighbours; every auction names the round before, no two the same one; every slot follows from the slot before; the
/// chain ends in the header in which the gate closes. Break one link and one function here shows it.
///
/// What an honest operator is safe from, in every function:
/// - a slot that exists cannot be denied: its absence needs a path of the empty leaf to the same root;
/// - another account's slot does not fit: the leaf index is the account;
/// - another header, another round or another order does not fit: each is fixed by a hash that the judged header, the
///   judged auction, the operator's signature or the trading contract holds.
contract RoundChallenges is Challenge {
    /// @param settlement_ whose headers are judged
    constructor(ISettlement settlement_) Challenge(settlement_) {}

    /// @notice Two neighbouring auctions stand in the wrong order, or one stands behind an empty leaf. Faults:
    /// `RoundRules.OrderFault`.
    /// @dev Honest leaves stand without gaps from leaf 0, the spot round, and from leaf 1 on strictly by product and
    /// round. Leaf 4,095 has no neighbour after it.
    function challengeOrder(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata first,
        AuctionProof calldata second
    ) external {
        _requireOpen(proof);
        _requireAuction(proof.header, first);
        _requireAuction(proof.header, second);
        if (second.index != first.index + 1) revert WrongNeighbours();
        RoundRules.OrderFault fault =
            RoundRules.orderFault(first.index, first.present, first.auction, second.present, second.auction);
        _conclude(proof, ISettlement.Lie.Order, uint8(fault));
    }

    /// @notice An auction does not come after the one that it names as the round before. Faults:
    /// `RoundRules.RoundFault`.
    /// @dev `before` is fixed by its hash; a first round names none, and nothing can be shown against it here.
    function challengeRound(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        Messages.Auction calldata before
    ) external {
        _requireOpen(proof);
        _requirePresent(proof.header, auction);
        if (auction.auction.previous == bytes32(0)) revert NothingIsWrong();
        _requireBefore(auction.auction, before);
        _conclude(proof, ISettlement.Lie.Round, uint8(RoundRules.roundFault(auction.auction, before)));
    }

    /// @notice A forward auction was cleared after the gate of its product, or is of none. Faults:
    /// `RoundRules.RoundFault.AfterGate` and `NoProduct`.
    /// @dev What is contracted is the position when the gate closes. A later round would deliver nothing, but could
    /// trade a position away that its account still has to be able to pay. Honest rounds clear until the gate.
    function challengeGate(ISettlement.HeaderProof calldata proof, AuctionProof calldata auction) external {
        _requireOpen(proof);
        _requirePresent(proof.header, auction);
        if (auction.auction.rule != ClearingRules.FORWARD) revert NothingIsWrong();
        RoundRules.RoundFault fault =
            RoundRules.gateFault(auction.auction.product, settlement.gateLeads(), proof.header.interval);
        _conclude(proof, ISettlement.Lie.Round, uint8(fault));
    }

    /// @notice Two auctions of a product name the same round before: one of them was slipped in, or a round was left
    /// out. The header of `one` is void, the later one. Faults: `RoundRules.ForkFault`.
    /// @dev An auction is no fork of itself: the two stand in two headers, or at two leaves of one. An honest operator
    /// publishes one chain a product; what a void header held is not posted any more and accuses nobody.
    function challengeFork(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata one,
        ISettlement.HeaderProof calldata otherHeader,
        AuctionProof calldata other
    ) external {
        _requireOpen(proof);
        settlement.requirePosted(otherHeader);
        _requirePresent(proof.header, one);
        _requirePresent(otherHeader.header, other);
        bool isItself = otherHeader.index == proof.index && other.index == one.index;
        if (isItself || otherHeader.index > proof.index) revert NothingIsWrong();
        _conclude(proof, ISettlement.Lie.Fork, uint8(RoundRules.forkFault(one.auction, other.auction)));
    }

    /// @notice An account's slot does not follow from its slot in the round before. In a first round `before` is
    /// ignored and `slotBefore` must be absent. Faults: `RoundRules.CarryFault`.
    /// @dev An order that was cancelled or matched on chain before the round may be retired; one that stands, or that
    /// was closed later, may not. Whether the round before is in any header is not asked: its hash fixes its slots.
    function challengeCarry(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        SlotProof calldata slot,
        Messages.Auction calldata before,
        SlotProof calldata slotBefore,
        uint32 account
    ) external {
        _requireOpen(proof);
        _requirePresent(proof.header, auction);
        if (auction.auction.rule != ClearingRules.FORWARD) revert NothingIsWrong();
        _requireSlot(auction.auction.slotsRoot, auction.auction, account, slot);
        if (auction.auction.previous != bytes32(0)) {
            _requireBefore(auction.auction, before);
            _requireSlot(before.slotsRoot, before, account, slotBefore);
        } else if (slotBefore.present) {
            revert NotInTree();
        }
        RoundRules.CarryFault fault = RoundRules.carryFault(
            slot.present,
            slot.slot,
            slotBefore.present,
            slotBefore.slot,
            auction.auction.price,
            slot.present && _isWithdrawn(account, slot.slot.version, auction.auction.clearedAtS)
        );
        _conclude(proof, ISettlement.Lie.Carry, uint8(fault));
    }

    /// @notice A round from the promised one on does not hold the bid that the operator has receipted, nor a newer one.
    /// Faults: `RoundRules.ReceiptFault`.
    /// @dev Only what the present coordinator signed counts, and only rounds of the receipt's product that clear when it
    /// says or later. A receipt of a standing order names product 0, of which there is no round.
    function challengeReceipt(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        SlotProof calldata slot,
        Messages.Receipt calldata receipt,
        bytes calldata signature
    ) external {
        _requireOpen(proof);
        _requirePresent(proof.header, auction);
        _requireSlot(auction.auction.slotsRoot, auction.auction, receipt.account, slot);
        _requireByOperator(receipt, signature);
        RoundRules.ReceiptFault fault = RoundRules.receiptFault(receipt, auction.auction, slot.present, slot.slot);
        _conclude(proof, ISettlement.Lie.Receipt, uint8(fault));
    }

    /// @notice A spot round at standing limits stands at an older standing order than the operator has receipted. Fault:
    /// `RoundRules.ReceiptFault.Stale`.
    /// @dev An order that is not valid yet, or no more, when the settled interval begins binds nobody; an account
    /// without a slot has no deviation to trade.
    function challengeStandingReceipt(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata spot,
        SlotProof calldata slot,
        Messages.Receipt calldata receipt,
        bytes calldata signature,
        Messages.StandingOrder calldata order
    ) external {
        _requireOpen(proof);
        _requirePresent(proof.header, spot);
        _requireSlot(spot.auction.slotsRoot, spot.auction, receipt.account, slot);
        _requireByOperator(receipt, signature);
        if (Messages.hashStruct(order) != receipt.bidHash) revert WrongEvidence();
        bool isCovered = spot.auction.rule == ClearingRules.SPOT_AUCTION && receipt.product == 0
            && spot.auction.clearedAtS >= receipt.clearsAtS && RoundRules.isValid(order, _settled(proof.header));
        bool isStale = isCovered && slot.present && slot.slot.version < receipt.version;
        _conclude(
            proof,
            ISettlement.Lie.Receipt,
            uint8(isStale ? RoundRules.ReceiptFault.Stale : RoundRules.ReceiptFault.None)
        );
    }

    /// @notice The header in which a gate closes does not hold an order that stands on chain, nor a newer one of the
    /// account. `last` and `next` show the closing round, or that there is none. Faults: `RoundRules.ForcedFault`.
    /// @dev An order that was closed on chain no later than the closing round clears is not asked for; without a closing
    /// round, one that was closed before delivery.
    function challengeForced(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata last,
        AuctionProof calldata next,
        SlotProof calldata slot,
        Messages.Bid calldata order
    ) external {
        _requireOpen(proof);
        _requireOnRecord(order);
        // The first header may begin in the middle of its interval, after the gate.
        if (proof.index == 0 || !_closesIn(order.product, proof.header)) revert NothingIsWrong();
        bool found = _closing(proof.header, order.product, last, next);
        if (found) _requireSlot(last.auction.slotsRoot, last.auction, order.account, slot);
        if (_isWithdrawn(order.account, order.version, found ? last.auction.clearedAtS : _startsAtS(order.product))) {
            revert NothingIsWrong();
        }
        RoundRules.ForcedFault fault = RoundRules.forcedFault(order.version, found, slot.present, slot.slot.version);
        _conclude(proof, ISettlement.Lie.Forced, uint8(fault));
    }

    /// @notice An order was filled although it had been closed on chain for longer than a chain's news take. Fault:
    /// `RoundRules.ForcedFault.WithdrawnUsed`.
    /// @dev Forward rounds only: in spot rounds a version is a standing order's.
    function challengeWithdrawn(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        SlotProof calldata slot
    ) external {
        _requireOpen(proof);
        _requireForwardSlot(proof.header, auction, slot);
        uint256 closedAtS = _closedAt(slot.slot.account, slot.slot.version);
        if (closedAtS == 0 || slot.slot.fillWh == 0) revert NothingIsWrong();
        bool isUsed = auction.auction.clearedAtS >= closedAtS + _trading().inclusionDelayS();
        _conclude(
            proof,
            ISettlement.Lie.Forced,
            uint8(isUsed ? RoundRules.ForcedFault.WithdrawnUsed : RoundRules.ForcedFault.None)
        );
    }

    /// @notice A slot was retired under the version of an order for another product, to shut out what the account
    /// has placed for this one. `order` is what is on record. Fault: `RoundRules.ForcedFault.AnotherProduct`.
    /// @dev A version belongs to one order of the account and an order to one product, both fixed by the record.
    function challengeRetired(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata auction,
        SlotProof calldata slot,
        Messages.Bid calldata order
    ) external {
        _requireOpen(proof);
        _requireForwardSlot(proof.header, auction, slot);
        _requireOnRecord(order);
        if (order.account != slot.slot.account || order.version != slot.slot.version) revert WrongEvidence();
        bool isOther = RoundRules.isRetired(slot.slot) && order.product != auction.auction.product;
        _conclude(
            proof,
            ISettlement.Lie.Forced,
            uint8(isOther ? RoundRules.ForcedFault.AnotherProduct : RoundRules.ForcedFault.None)
        );
    }

    /// @notice The header in which a gate closes holds no round of a product of which an account holds a position since
    /// an earlier header. `last` and `next` show that there is none. Fault: `RoundRules.ClosingFault.RoundMissing`.
    /// @dev A product in which nobody holds anything needs no closing round; one that was only traded in void headers
    /// was never traded.
    function challengeClosing(
        ISettlement.HeaderProof calldata proof,
        AuctionProof calldata last,
        AuctionProof calldata next,
        ISettlement.HeaderProof calldata earlierHeader,
        AuctionProof calldata earlier,
        SlotProof calldata slot
    ) external {
        _requireOpen(proof);
        settlement.requirePosted(earlierHeader);
        _requireForwardSlot(earlierHeader.header, earlier, slot);
        bool isAsked =
            _closesIn(earlier.auction.product, proof.header) && earlierHeader.header.interval <= proof.header.interval;
        bool isHeld = slot.slot.positionWh != 0 || slot.slot.positionCostNano != 0;
        bool isMissing = !_closing(proof.header, earlier.auction.product, last, next);
        _conclude(
            proof,
            ISettlement.Lie.Closing,
            uint8(isAsked && isHeld && isMissing ? RoundRules.ClosingFault.RoundMissing : RoundRules.ClosingFault.None)
        );
    }

    /// @dev An auction that stands at its index; an empty leaf shows nothing.
    function _requirePresent(Messages.Header calldata header, AuctionProof calldata auction) private pure {
        _requireAuction(header, auction);
        if (!auction.present) revert NothingIsWrong();
    }

    /// @dev A slot that stands in a forward auction of the header.
    function _requireForwardSlot(
        Messages.Header calldata header,
        AuctionProof calldata auction,
        SlotProof calldata slot
    ) private pure {
        _requirePresent(header, auction);
        if (!slot.present || auction.auction.rule != ClearingRules.FORWARD) revert NothingIsWrong();
        _requireSlot(auction.auction.slotsRoot, auction.auction, slot.slot.account, slot);
    }

    /// @dev `before` is the round that `auction` names.
    function _requireBefore(Messages.Auction calldata auction, Messages.Auction calldata before) private pure {
        if (Messages.hashStruct(before) != auction.previous) revert WrongEvidence();
    }

    function _requireByOperator(Messages.Receipt calldata receipt, bytes calldata signature) private view {
        bytes32 digest = _digest(Messages.hashStruct(receipt));
        if (!Signatures.isBy(settlement.coordinator(), digest, signature)) revert WrongEvidence();
    }

    /// @dev The bid was placed on chain by its account, exactly so.
    function _requireOnRecord(Messages.Bid calldata order) private view {
        if (address(_trading()) == address(0)) revert WrongEvidence();
        if (_trading().forcedBidHash(order.account, order.version) != Messages.hashStruct(order)) {
            revert WrongEvidence();
        }
    }

    /// @dev When an order was closed on chain; zero while it stands, for signed bids, and where nothing trades on chain.
    function _closedAt(uint32 account, uint32 version) private view returns (uint256) {
        if (version < RoundRules.FORCED_VERSION || address(_trading()) == address(0)) return 0;
        return _trading().closedAt(account, version);
    }

    /// @dev Whether an order was closed on chain no later than `atS`.
    function _isWithdrawn(uint32 account, uint32 version, uint256 atS) private view returns (bool) {
        uint256 closedAtS = _closedAt(account, version);
        return closedAtS != 0 && closedAtS <= atS;
    }

    /// @dev Whether the gate of a product closes in the interval of the header.
    function _closesIn(uint64 product, Messages.Header calldata header) private view returns (bool) {
        (bool isProduct, int256 closing) = Products.closingInterval(product, settlement.gateLeads());
        return isProduct && closing == int256(uint256(header.interval));
    }

    /// @dev The instant in which delivery of a product begins.
    function _startsAtS(uint64 product) private pure returns (uint256) {
        return uint256(Products.firstOf(product)) * HeaderRules.INTERVAL_S;
    }

    function _settled(Messages.Header calldata header) private view returns (int256) {
        return int256(uint256(header.interval)) - int256(uint256(settlement.graceIntervals()));
    }

    function _trading() private view returns (IForcedBids) {
        return IForcedBids(settlement.trading());
    }
}
