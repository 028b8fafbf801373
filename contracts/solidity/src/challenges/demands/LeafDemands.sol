// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../../interfaces/ISettlement.sol";
import {ClearingRules} from "../../libraries/ClearingRules.sol";
import {Commitments} from "../../libraries/Commitments.sol";
import {MerkleSum} from "../../libraries/MerkleSum.sol";
import {Messages} from "../../libraries/Messages.sol";
import {Signatures} from "../../libraries/Signatures.sol";
import {AuctionProof, BalanceProof, MeterProof, SlotProof} from "../Proofs.sol";
import {DemandBook, Question} from "./DemandBook.sol";

/// @title Demands to open what a header commits to: leaves, and the preimages of the hashes within them.
/// @notice An empty leaf is an answer like any other, and where a leaf commits to nothing the leaf alone answers.
abstract contract LeafDemands is DemandBook {
    /// @dev Bids with this bit in their version were placed on chain and carry no signature.
    uint32 private constant FORCED_VERSION = 1 << 31;
    /// @dev The rule of spot rounds in which a home's standing order is its limit.
    uint8 private constant SPOT_AUCTION = 2;

    /// @notice Demands one of:
    ///     Auction        the auction at the leaf `subject`
    ///     Slot           the slot of the account `subject` under `auction`
    ///     Signature      that slot's signature, under the rule `auction` the standing order with its signature
    ///     Previous       the round that `auction` names as the one before
    ///     Meter          the meter leaf of the account `subject`
    ///     Reading        the signed reading behind it
    ///     Balance        the balance leaf of the account `subject`
    ///     Commitments    the list behind its reserve
    /// `auction` is ignored where it is not named here. The fee is taken from the caller's token allowance.
    function demand(
        ISettlement.HeaderProof calldata proof,
        Question question,
        AuctionProof calldata auction,
        uint32 subject
    ) external returns (uint256 id) {
        if (question > Question.Commitments) revert NothingToAsk();
        uint256 depth = question == Question.Auction ? MerkleSum.AUCTIONS_DEPTH : MerkleSum.DEPTH;
        if (subject >> depth != 0) revert NothingToAsk();
        bytes32 auctionHash;
        uint256 leaf;
        if (question == Question.Slot || question == Question.Signature || question == Question.Previous) {
            if (!auction.present) revert NothingToAsk();
            _requireAuction(proof.header, auction);
            auctionHash = Messages.hashStruct(auction.auction);
            leaf = auction.index;
        }
        if (question == Question.Previous) {
            if (auction.auction.previous == bytes32(0)) revert NothingToAsk();
            subject = 0;
        }
        return _demand(proof, Topic(question, _subject(question, auctionHash, subject), leaf, subject));
    }

    /// @notice Answers `Auction`.
    function answerAuction(uint256 id, ISettlement.HeaderProof calldata proof, AuctionProof calldata auction) external {
        _requireAsked(id, proof, _subject(Question.Auction, bytes32(0), auction.index));
        _requireAuction(proof.header, auction);
        _answered(id);
    }

    /// @notice Answers `Slot`.
    function answerSlot(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        Messages.Auction calldata auction,
        uint32 account,
        SlotProof calldata slot
    ) external {
        _requireAsked(id, proof, _subject(Question.Slot, Messages.hashStruct(auction), account));
        _requireSlot(auction.slotsRoot, auction, account, slot);
        _answered(id);
    }

    /// @notice Answers `Meter`.
    function answerMeter(uint256 id, ISettlement.HeaderProof calldata proof, uint32 account, MeterProof calldata meter)
        external
    {
        _requireAsked(id, proof, _subject(Question.Meter, bytes32(0), account));
        _requireMeter(proof.header, account, meter);
        _answered(id);
    }

    /// @notice Answers `Balance`.
    function answerBalance(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        uint32 account,
        BalanceProof calldata balance
    ) external {
        _requireAsked(id, proof, _subject(Question.Balance, bytes32(0), account));
        _requireBalance(proof.header, account, balance);
        _answered(id);
    }

    /// @notice Answers `Signature` for every slot but those that commit to a standing order.
    /// @dev The signature is ignored where there is none: no slot, a bid placed on chain, a deviation, or a slot that
    /// commits to none (which `challengeSignature` judges).
    function answerSignature(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        Messages.Auction calldata auction,
        uint32 account,
        SlotProof calldata slot,
        bytes calldata signature
    ) external {
        _requireAsked(id, proof, _subject(Question.Signature, Messages.hashStruct(auction), account));
        _requireSlot(auction.slotsRoot, auction, account, slot);
        if (slot.present && slot.slot.signatureHash != bytes32(0)) {
            // Otherwise the two hashes that make up a standing order's would pass for a signature.
            if (auction.rule == SPOT_AUCTION) revert WrongEvidence();
            bool isSigned = auction.rule == ClearingRules.FORWARD && slot.slot.version & FORCED_VERSION == 0;
            if (isSigned) _requireSignature(signature);
            if (isSigned && keccak256(signature) != slot.slot.signatureHash) revert WrongEvidence();
        }
        _answered(id);
    }

    /// @notice Answers `Signature` for a slot that commits to a standing order.
    function answerStanding(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        Messages.Auction calldata auction,
        uint32 account,
        SlotProof calldata slot,
        Messages.StandingOrder calldata order,
        bytes calldata signature
    ) external {
        _requireAsked(id, proof, _subject(Question.Signature, Messages.hashStruct(auction), account));
        _requireSlot(auction.slotsRoot, auction, account, slot);
        if (auction.rule != SPOT_AUCTION || !slot.present) revert WrongEvidence();
        _requireSignature(signature);
        if (_committed(Messages.hashStruct(order), signature) != slot.slot.signatureHash) revert WrongEvidence();
        _answered(id);
    }

    /// @notice Answers `Reading`. Reading and signature are ignored where the account was never read.
    function answerReading(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        uint32 account,
        MeterProof calldata meter,
        Messages.SettlementReading calldata reading,
        bytes calldata signature
    ) external {
        _requireAsked(id, proof, _subject(Question.Reading, bytes32(0), account));
        _requireMeter(proof.header, account, meter);
        if (meter.present && meter.leaf.readingHash != bytes32(0)) {
            _requireSignature(signature);
            if (_committed(Messages.hashStruct(reading), signature) != meter.leaf.readingHash) revert WrongEvidence();
        }
        _answered(id);
    }

    /// @notice Answers `Previous` by the round before, in the same or another header that is posted, final or not.
    function answerPrevious(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        Messages.Auction calldata auction,
        ISettlement.HeaderProof calldata earlier,
        AuctionProof calldata before
    ) external {
        _requireAsked(id, proof, _subject(Question.Previous, Messages.hashStruct(auction), 0));
        settlement.requirePosted(earlier);
        if (!before.present || Messages.hashStruct(before.auction) != auction.previous) revert WrongEvidence();
        _requireAuction(earlier.header, before);
        _answered(id);
    }

    /// @notice Answers `Commitments`. An account without a balance leaf has none.
    function answerCommitments(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        uint32 account,
        BalanceProof calldata balance,
        Commitments.Commitment[] calldata list
    ) external {
        _requireAsked(id, proof, _subject(Question.Commitments, bytes32(0), account));
        _requireBalance(proof.header, account, balance);
        if (list.length > Commitments.LIMIT) revert WrongEvidence();
        if (balance.present && Commitments.hash(list) != balance.leaf.commitmentsHash) revert WrongEvidence();
        _answered(id);
    }

    /// @dev What is not as long as a signature is none, and could be too long for the challenge that it calls for.
    function _requireSignature(bytes calldata signature) private pure {
        if (signature.length != Signatures.LENGTH) revert WrongEvidence();
    }

    /// @dev What a leaf carries for a message with its signature.
    function _committed(bytes32 structHash, bytes calldata signature) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(structHash, keccak256(signature)));
    }
}
