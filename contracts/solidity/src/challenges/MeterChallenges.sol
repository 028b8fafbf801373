// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../interfaces/ISettlement.sol";
import {ClearingRules} from "../libraries/ClearingRules.sol";
import {Commitments} from "../libraries/Commitments.sol";
import {HeaderRules} from "../libraries/HeaderRules.sol";
import {Messages} from "../libraries/Messages.sol";
import {MeterRules} from "../libraries/MeterRules.sol";
import {Products} from "../libraries/Products.sol";
import {Signatures} from "../libraries/Signatures.sol";
import {Challenge} from "./Challenge.sol";
import {AuctionProof, BalanceProof, MeterProof, SlotProof} from "./Proofs.sol";

/// @title Lies in what an account metered, had contracted, was settled and still owes.
/// @notice
///     signed reading → registers after the header before → metered energy ─┐
///     closing rounds of four products → contracted energy and cost ────────┴→ deviation → spot round → balance
///     slots of the last rounds, or the list before → commitments → reserve
///
/// What an honest operator is safe from, in every function:
/// - a leaf that exists cannot be denied: its absence needs a path of the empty leaf to the same root;
/// - another account's leaf does not fit: the leaf index is the account;
/// - another header before, another closing header, another reading or list does not fit: each is fixed by a hash or an
///   interval. The first header has none before it: then nothing counts as having been before.
contract MeterChallenges is Challenge {
    /// @notice Everything that decides how one account's balance moves.
    /// @dev `previous` is the header before; ignored, with `before` absent, where there is none.
    struct BalanceEvidence {
        uint32 account;
        Messages.Header previous;
        BalanceProof before;
        BalanceProof afterwards;
        MeterProof meter;
        AuctionProof spot;
        SlotProof slot;
    }

    /// @param settlement_ whose headers are judged
    constructor(ISettlement settlement_) Challenge(settlement_) {}

    /// @notice The reading to which a meter leaf commits is another account's, too late, of other registers or unsigned.
    /// Faults: `MeterRules.ReadingFault`.
    /// @dev The leaf fixes reading and signature; a leaf of an account that was never read commits to none.
    function challengeReading(
        ISettlement.HeaderProof calldata proof,
        MeterProof calldata meter,
        Messages.SettlementReading calldata reading,
        bytes calldata signature
    ) external {
        _requireOpen(proof);
        if (!meter.present) revert NothingIsWrong();
        uint32 account = meter.leaf.account;
        _requireMeter(proof.header, account, meter);
        if (MeterRules.commitment(reading, signature) != meter.leaf.readingHash) revert WrongEvidence();
        bool isSigned = Signatures.isBy(settlement.keyOf(account), _digest(Messages.hashStruct(reading)), signature);
        MeterRules.ReadingFault fault = MeterRules.readingFault(meter.leaf, reading, _settled(proof.header), isSigned);
        _conclude(proof, ISettlement.Lie.Reading, uint8(fault));
    }

    /// @notice An account's registers do not follow from those of the header before, or its deviation is not metered
    /// less contracted less ordered. In the first header `previous` is ignored and `before` must be absent. Faults:
    /// `MeterRules.RegisterFault`.
    /// @dev Honest registers only move with a newer reading of the account, which never runs backwards, and an account
    /// that was read once keeps its leaf for good.
    function challengeRegister(
        ISettlement.HeaderProof calldata proof,
        Messages.Header calldata previous,
        MeterProof calldata before,
        MeterProof calldata meter,
        uint32 account
    ) external {
        _requireOpen(proof);
        if (_requirePrevious(proof, previous)) {
            _requireMeter(previous, account, before);
        } else if (before.present) {
            revert NotInTree();
        }
        _requireMeter(proof.header, account, meter);
        MeterRules.RegisterFault fault =
            MeterRules.registerFault(meter.present, meter.leaf, before.present, before.leaf);
        _conclude(proof, ISettlement.Lie.Register, uint8(fault));
    }

    /// @notice What a meter leaf calls contracted of one product length is not the account's position in the closing
    /// round of the product that delivers. `place` 0 … 3: quarter-hour, hour, day, week. `closing` is the header in
    /// which the gate closed; `last` and `next` show the closing round in it, or that there was none. Where the gate
    /// closed before the first header, that one stands for `closing`, nothing is contracted, and the rest is ignored.
    /// Faults: `MeterRules.ContractedFault`.
    /// @dev Leaf and place fix the product, the product fixes the interval of the closing header, of which one is posted.
    function challengeContracted(
        ISettlement.HeaderProof calldata proof,
        MeterProof calldata meter,
        uint32 account,
        uint256 place,
        ISettlement.HeaderProof calldata closing,
        AuctionProof calldata last,
        AuctionProof calldata next,
        SlotProof calldata slot
    ) external {
        _requireOpen(proof);
        _requireMeter(proof.header, account, meter);
        settlement.requirePosted(closing);
        bool found = _requireClosing(proof.header, place, closing, last, next);
        if (found) _requireSlot(last.auction.slotsRoot, last.auction, account, slot);
        MeterRules.ContractedFault fault =
            MeterRules.contractedFault(meter.present, meter.leaf, place, found && slot.present, slot.slot);
        _conclude(proof, ISettlement.Lie.Contracted, uint8(fault));
    }

    /// @notice An account's balance did not move by its contracts, its spot trade and the supplier's settlement, or its
    /// spot slot does not trade its deviation. The supplier, account 0, meters nothing and trades nothing; its balance
    /// is what makes all sum to zero. Faults: `HeaderRules.BalanceFault`.
    /// @dev The spot round is leaf 0 and nothing else; where it is absent nobody has a slot in it. Every other leaf is
    /// the account's, so that all five say together what is honest or not.
    function challengeBalance(ISettlement.HeaderProof calldata proof, BalanceEvidence calldata evidence) external {
        _requireOpen(proof);
        if (_requirePrevious(proof, evidence.previous)) {
            _requireBalance(evidence.previous, evidence.account, evidence.before);
        } else if (evidence.before.present) {
            revert NotInTree();
        }
        _requireSettled(proof.header, evidence);
        if (evidence.account == 0) {
            bool isTrading = evidence.meter.present || evidence.slot.present;
            HeaderRules.BalanceFault found =
                isTrading ? HeaderRules.BalanceFault.SpotIsNotDeviation : HeaderRules.BalanceFault.None;
            _conclude(proof, ISettlement.Lie.Balance, uint8(found));
            return;
        }
        HeaderRules.Settled memory settled = HeaderRules.Settled({
            beforeNano: evidence.before.present ? int256(evidence.before.leaf.cumulativeNano) : int256(0),
            afterNano: evidence.afterwards.present ? int256(evidence.afterwards.leaf.cumulativeNano) : int256(0),
            hasMeter: evidence.meter.present,
            meter: evidence.meter.leaf,
            hasSlot: evidence.slot.present,
            slot: evidence.slot.slot
        });
        _conclude(proof, ISettlement.Lie.Balance, uint8(HeaderRules.balanceFault(settled, proof.header)));
    }

    /// @notice A reserve is not the sum of the commitments behind it, or their list breaks its own order. The supplier
    /// reserves nothing; for it `list` is ignored. Faults: `Commitments.ReserveFault`.
    /// @dev The leaf fixes the list. Without a leaf there is neither reserve nor list.
    function challengeReserve(
        ISettlement.HeaderProof calldata proof,
        BalanceProof calldata balance,
        Commitments.Commitment[] calldata list
    ) external {
        _requireOpen(proof);
        if (!balance.present) revert NothingIsWrong();
        _requireBalance(proof.header, balance.leaf.account, balance);
        Commitments.ReserveFault fault;
        if (balance.leaf.account == 0) {
            bool isNothing = balance.leaf.reservedNano == 0 && balance.leaf.commitmentsHash == bytes32(0);
            fault = isNothing ? Commitments.ReserveFault.None : Commitments.ReserveFault.WrongSum;
        } else {
            _requireList(balance, list);
            fault = Commitments.reserveFault(balance.leaf.reservedNano, list, _settled(proof.header));
        }
        _conclude(proof, ISettlement.Lie.Reserve, uint8(fault));
    }

    /// @notice A commitment is not what the account's slot in the product's last round of this header leaves open. The
    /// product is `last`'s; `next` shows that no later round of it stands here. Not for the supplier. Fault:
    /// `Commitments.CommitmentFault.NotTheSlots`.
    /// @dev What the list does not name counts as nothing owed, and so does what an account without a slot owes.
    function challengeCommitment(
        ISettlement.HeaderProof calldata proof,
        uint32 account,
        BalanceProof calldata balance,
        Commitments.Opening calldata opening,
        AuctionProof calldata last,
        AuctionProof calldata next,
        SlotProof calldata slot
    ) external {
        _requireOpen(proof);
        if (account == 0) revert NothingIsWrong();
        uint64 product = last.auction.product;
        if (!_closing(proof.header, product, last, next)) revert WrongNeighbours();
        if (last.auction.rule != ClearingRules.FORWARD) revert NothingIsWrong();
        _requireSlot(last.auction.slotsRoot, last.auction, account, slot);
        _requireBalance(proof.header, account, balance);
        Commitments.Owed memory entry = _requireOpening(balance, opening, product);
        Commitments.Owed memory expected = Commitments.ofSlot(
            slot.present,
            slot.slot,
            product,
            _isClosed(product, proof.header),
            proof.header.tariffImport,
            _settled(proof.header)
        );
        bool isSame = Commitments.isSame(entry, expected);
        _conclude(
            proof,
            ISettlement.Lie.Commitment,
            uint8(isSame ? Commitments.CommitmentFault.None : Commitments.CommitmentFault.NotTheSlots)
        );
    }

    /// @notice A commitment of a product without a round in this header is not the one of the header before, carried.
    /// `last` and `next` show that there is no round. In the first header `previous` is ignored, and `before` and its
    /// list must be absent. Not for the supplier. Fault: `Commitments.CommitmentFault.NotCarried`.
    /// @dev Both leaves fix their lists, of which the product's part is opened; what a list does not name counts as
    /// nothing owed.
    function challengeCarriedCommitment(
        ISettlement.HeaderProof calldata proof,
        Messages.Header calldata previous,
        uint32 account,
        BalanceProof calldata before,
        Commitments.Opening calldata openingBefore,
        BalanceProof calldata balance,
        Commitments.Opening calldata opening,
        uint64 product,
        AuctionProof calldata last,
        AuctionProof calldata next
    ) external {
        _requireOpen(proof);
        if (account == 0) revert NothingIsWrong();
        if (_requirePrevious(proof, previous)) {
            _requireBalance(previous, account, before);
        } else if (before.present) {
            revert NotInTree();
        }
        Commitments.Owed memory entryBefore = _requireOpening(before, openingBefore, product);
        _requireBalance(proof.header, account, balance);
        Commitments.Owed memory entry = _requireOpening(balance, opening, product);
        if (_closing(proof.header, product, last, next)) revert NothingIsWrong();
        Commitments.Owed memory expected =
            Commitments.carried(entryBefore, product, _isClosed(product, proof.header), _settled(proof.header));
        bool isSame = Commitments.isSame(entry, expected);
        _conclude(
            proof,
            ISettlement.Lie.Commitment,
            uint8(isSame ? Commitments.CommitmentFault.None : Commitments.CommitmentFault.NotCarried)
        );
    }

    /// @dev Whether the closing header holds a closing round of the product at `place` that delivers in the interval
    /// which `header` settles.
    function _requireClosing(
        Messages.Header calldata header,
        uint256 place,
        ISettlement.HeaderProof calldata closing,
        AuctionProof calldata last,
        AuctionProof calldata next
    ) private view returns (bool found) {
        if (place >= Products.NO_PLACE) revert NothingIsWrong();
        int256 first = Products.firstCovering(_settled(header), place);
        int256 closingInterval = first - Products.leadAt(place, settlement.gateLeads());
        int256 shownInterval = int256(uint256(closing.header.interval));
        if (shownInterval == closingInterval) {
            // Casting: the closing interval is not below zero, so neither is the first.
            return _closing(closing.header, Products.numberOf(first, place), last, next);
        }
        if (closing.index != 0 || shownInterval < closingInterval) revert WrongEvidence();
        return false;
    }

    /// @dev The leaves that decide a balance stand under the header, the spot round at leaf 0.
    function _requireSettled(Messages.Header calldata header, BalanceEvidence calldata evidence) private pure {
        _requireBalance(header, evidence.account, evidence.afterwards);
        _requireMeter(header, evidence.account, evidence.meter);
        if (evidence.spot.index != 0) revert NotInTree();
        _requireAuction(header, evidence.spot);
        if (evidence.spot.present) {
            _requireSlot(evidence.spot.auction.slotsRoot, evidence.spot.auction, evidence.account, evidence.slot);
        } else if (evidence.slot.present) {
            revert NotInTree();
        }
    }

    /// @dev The list is the one that the leaf commits to; an absent leaf commits to the empty one.
    function _requireList(BalanceProof calldata balance, Commitments.Commitment[] calldata list) private pure {
        if (Commitments.hash(list) != _listHash(balance)) revert WrongEvidence();
    }

    /// @dev What the list that the leaf commits to holds for the product.
    function _requireOpening(BalanceProof calldata balance, Commitments.Opening calldata opening, uint64 product)
        private
        pure
        returns (Commitments.Owed memory entry)
    {
        bool isShown;
        (isShown, entry) = Commitments.opened(opening, _listHash(balance), product);
        if (!isShown) revert WrongEvidence();
    }

    function _listHash(BalanceProof calldata balance) private pure returns (bytes32) {
        return balance.present ? balance.leaf.commitmentsHash : bytes32(0);
    }

    function _isClosed(uint64 product, Messages.Header calldata header) private view returns (bool) {
        return Products.isClosed(product, settlement.gateLeads(), header.interval);
    }

    /// @dev The last settled interval under a header; below zero within the first grace period.
    function _settled(Messages.Header calldata header) private view returns (int256) {
        return int256(uint256(header.interval)) - int256(uint256(settlement.graceIntervals()));
    }
}
