// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IForcedBids} from "../../interfaces/IForcedBids.sol";
import {ISettlement} from "../../interfaces/ISettlement.sol";
import {Commitments} from "../../libraries/Commitments.sol";
import {HeaderRules} from "../../libraries/HeaderRules.sol";
import {MerkleSum} from "../../libraries/MerkleSum.sol";
import {Messages} from "../../libraries/Messages.sol";
import {Products} from "../../libraries/Products.sol";
import {Signatures} from "../../libraries/Signatures.sol";
import {AuctionProof, BalanceProof, MeterProof} from "../Proofs.sol";
import {DemandBook, Question} from "./DemandBook.sol";

/// @title Demands to justify what a header does, by something that lies outside it.
/// @notice
///     Cover      what covered the growth of an account's reserve?
///     Round      where is the round that a receipt promised?
///     Ordered    which command stands behind energy that the operator ordered?
abstract contract PromiseDemands is DemandBook {
    /// @notice The growth that a demand for cover is about. `commitmentsHash` is that of the balance leaf.
    struct Growth {
        uint32 account;
        uint128 reservedNano;
        uint128 reservedBeforeNano;
        bytes32 commitmentsHash;
    }

    /// @notice A command of the operator's and the home's report that it was carried out.
    struct Command {
        Messages.SetPoint setPoint;
        bytes signature;
        Messages.SetPointReport report;
        bytes reportSignature;
    }

    /// @dev Bids with this bit in their version were placed on chain.
    uint32 private constant FORCED_VERSION = 1 << 31;
    uint256 private constant LAST_AUCTION = (1 << MerkleSum.AUCTIONS_DEPTH) - 1;
    uint8 private constant APPLIED = 0;
    uint256 private constant HOUR_S = 3_600;

    /// @notice The demand for cover `id` is about this growth.
    event CoverDemanded(uint256 indexed id, Growth growth);
    /// @notice The demand for a round `id` is about this receipt.
    event RoundDemanded(uint256 indexed id, Messages.Receipt receipt);

    /// @notice The evidence is genuine and does not suffice.
    error NotCovered();

    /// @notice How many intervals back an account's result may be that covers a reserve. An operator takes a bid on the
    /// strength of the last header he has posted, and it comes into the reserve with the first round that it takes part
    /// in: at least the longest time between both.
    uint64 public immutable coverLag;

    constructor(uint64 coverLag_) {
        coverLag = coverLag_;
    }

    /// @notice Demands what covered the growth of `account`'s reserve from the header before, where deposits and the
    /// result of that header do not. The leaf of an account that had none is shown to be empty; in the first header
    /// `previous` and `before` are ignored.
    function demandCover(
        ISettlement.HeaderProof calldata proof,
        uint32 account,
        Messages.Header calldata previous,
        BalanceProof calldata before,
        BalanceProof calldata balance
    ) external returns (uint256 id) {
        // The supplier must reserve nothing: that is for `challengeReserve`.
        if (account == 0 || !balance.present) revert NothingToAsk();
        _requireBalance(proof.header, account, balance);
        Growth memory growth = Growth(account, balance.leaf.reservedNano, 0, balance.leaf.commitmentsHash);
        int256 resultNano = 0;
        if (_requirePrevious(proof, previous)) {
            _requireBalance(previous, account, before);
            if (before.present) {
                growth.reservedBeforeNano = before.leaf.reservedNano;
                resultNano = before.leaf.cumulativeNano;
            }
        }
        if (growth.reservedNano <= growth.reservedBeforeNano || _covers(account, resultNano, growth.reservedNano)) {
            revert NothingToAsk();
        }
        id = _demand(proof, Topic(Question.Cover, _growth(growth), 0, account));
        emit CoverDemanded(id, growth);
    }

    /// @notice Answers `Cover`: by the account's result in a posted header no more than `coverLag` intervals before,
    /// by orders that the account placed on chain and that had to be taken, or by both. What is owed for the products
    /// of `orders` need not be covered; the rest must not exceed the reserve before, or deposits and that result.
    /// @param list the account's commitments in the header, ignored where `orders` is empty
    /// @param orders by product, none twice
    function answerCover(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        Growth calldata growth,
        ISettlement.HeaderProof calldata covering,
        BalanceProof calldata balance,
        Commitments.Commitment[] calldata list,
        Messages.Bid[] calldata orders
    ) external {
        _requireAsked(id, proof, _growth(growth));
        settlement.requirePosted(covering);
        _requireBalance(covering.header, growth.account, balance);
        uint256 interval = covering.header.interval;
        if (interval > proof.header.interval || interval + coverLag < proof.header.interval) revert WrongEvidence();

        uint256 restNano = growth.reservedNano;
        if (orders.length != 0) {
            if (Commitments.hash(list) != growth.commitmentsHash) revert WrongEvidence();
            restNano = _lessForced(restNano, growth.account, list, orders, proof.header.interval);
        }
        int256 resultNano = balance.present ? int256(balance.leaf.cumulativeNano) : int256(0);
        if (restNano > growth.reservedBeforeNano && !_covers(growth.account, resultNano, restNano)) {
            revert NotCovered();
        }
        _answered(id);
    }

    /// @notice Demands why the round that `receipt` promised to `bid` is missing from the header of its interval.
    /// @param last the leaf before the place where the round would stand; leaf 0 where nothing forward stands before
    /// @param next the leaf after `last`; ignored where that is the last one of the tree
    function demandRound(
        ISettlement.HeaderProof calldata proof,
        Messages.Receipt calldata receipt,
        bytes calldata signature,
        Messages.Bid calldata bid,
        AuctionProof calldata last,
        AuctionProof calldata next
    ) external returns (uint256 id) {
        if (!Signatures.isBy(settlement.coordinator(), _digest(Messages.hashStruct(receipt)), signature)) {
            revert WrongEvidence();
        }
        if (
            Messages.hashStruct(bid) != receipt.bidHash || bid.account != receipt.account
                || bid.product != receipt.product || bid.version != receipt.version
        ) revert WrongEvidence();
        if (
            bid.quantityWh == 0 || bid.expiryS < receipt.clearsAtS
                || receipt.clearsAtS / HeaderRules.INTERVAL_S != proof.header.interval
        ) revert NothingToAsk();
        _requireMissing(proof.header, receipt.product, receipt.round, last, next);
        bytes32 subject = _promise(bid, bid.version);
        id = _demand(proof, Topic(Question.Round, subject, 0, receipt.account));
        emit RoundDemanded(id, receipt);
    }

    /// @notice Answers `Round`: the account has replaced the bid of version `version` by `bid`, signed or on chain.
    /// @param signature the account's; ignored where the bid was placed on chain
    function answerRound(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        uint32 version,
        Messages.Bid calldata bid,
        bytes calldata signature
    ) external {
        _requireAsked(id, proof, _promise(bid, version));
        if (bid.version <= version) revert NotCovered();
        bool isGenuine = bid.version & FORCED_VERSION != 0
            ? _isForced(bid)
            : Signatures.isBy(settlement.keyOf(bid.account), _digest(Messages.hashStruct(bid)), signature);
        if (!isGenuine) revert WrongEvidence();
        _answered(id);
    }

    /// @notice Demands the commands behind the energy that a meter leaf holds as ordered.
    function demandOrdered(ISettlement.HeaderProof calldata proof, MeterProof calldata meter)
        external
        returns (uint256 id)
    {
        if (!meter.present || meter.leaf.orderedWh == 0) revert NothingToAsk();
        uint32 account = meter.leaf.account;
        _requireMeter(proof.header, account, meter);
        bytes32 subject = _ordered(account, meter.leaf.orderedWh);
        return _demand(proof, Topic(Question.Ordered, subject, 0, account));
    }

    /// @notice Answers `Ordered`: the operator signed these commands, the home reported that each was applied, and
    /// their power over the part of the settled interval in which they were valid is at least the ordered energy.
    /// @param commands by device, term and sequence, none twice
    function answerOrdered(
        uint256 id,
        ISettlement.HeaderProof calldata proof,
        uint32 account,
        int64 orderedWh,
        Command[] calldata commands
    ) external {
        _requireAsked(id, proof, _ordered(account, orderedWh));
        uint256 fromS = (proof.header.interval - _graceIntervals) * HeaderRules.INTERVAL_S;
        address operator = settlement.coordinator();
        address key = settlement.keyOf(account);
        uint256 lastOne = 0;
        uint256 coveredWs = 0;
        for (uint256 i = 0; i < commands.length; i++) {
            Messages.SetPoint calldata setPoint = commands[i].setPoint;
            uint256 one = (uint256(setPoint.device) << 96) | (uint256(setPoint.term) << 64) | setPoint.sequence;
            if (setPoint.account != account || (i != 0 && one <= lastOne)) revert WrongEvidence();
            _requireApplied(commands[i], operator, key);
            coveredWs += _abs(setPoint.powerW) * _overlapS(setPoint, fromS);
            lastOne = one;
        }
        if (_abs(orderedWh) * HOUR_S > coveredWs) revert NotCovered();
        _answered(id);
    }

    function _growth(Growth memory growth) private pure returns (bytes32) {
        return _subject(Question.Cover, keccak256(abi.encode(growth)), growth.account);
    }

    function _promise(Messages.Bid calldata bid, uint32 version) private pure returns (bytes32) {
        return _subject(Question.Round, keccak256(abi.encode(bid.product, version)), bid.account);
    }

    function _ordered(uint32 account, int64 orderedWh) private pure returns (bytes32) {
        return _subject(Question.Ordered, bytes32(uint256(int256(orderedWh))), account);
    }

    /// @dev The leaves `last` and `next` leave no place between them for that round.
    function _requireMissing(
        Messages.Header calldata header,
        uint64 product,
        uint32 round,
        AuctionProof calldata last,
        AuctionProof calldata next
    ) private pure {
        _requireAuction(header, last);
        // An empty leaf says nothing about what stands before it; leaf 0 is outside the order.
        if (last.index != 0 && (!last.present || _compare(last.auction, product, round) >= 0)) {
            revert WrongNeighbours();
        }
        if (last.index == LAST_AUCTION) return;
        if (next.index != last.index + 1) revert WrongNeighbours();
        _requireAuction(header, next);
        if (next.present && _compare(next.auction, product, round) <= 0) revert WrongNeighbours();
    }

    /// @dev Below zero where the auction comes before that round, zero where it is that round.
    function _compare(Messages.Auction calldata auction, uint64 product, uint32 round) private pure returns (int256) {
        // Casting: 96 bits each.
        return int256((uint256(auction.product) << 32) | auction.round) - int256((uint256(product) << 32) | round);
    }

    /// @dev A sum less what is owed for the products of these orders.
    function _lessForced(
        uint256 sumNano,
        uint32 account,
        Commitments.Commitment[] calldata list,
        Messages.Bid[] calldata orders,
        uint64 interval
    ) private view returns (uint256 restNano) {
        restNano = sumNano;
        int256 settled = int256(uint256(interval)) - int256(uint256(_graceIntervals));
        for (uint256 i = 0; i < orders.length; i++) {
            Messages.Bid calldata order = orders[i];
            bool isNext = i == 0 || orders[i - 1].product < order.product;
            if (order.account != account || !isNext || !_isForced(order)) revert WrongEvidence();
            Commitments.Owed memory owed = Commitments.entryOf(list, order.product);
            uint256 owedNano = owed.bidNano + owed.intervalNano * Products.intervalsLeft(order.product, settled);
            // More only where the reserve is not the sum of its list, which is another lie.
            restNano = owedNano < restNano ? restNano - owedNano : 0;
        }
    }

    function _isForced(Messages.Bid calldata bid) private view returns (bool) {
        address trading = settlement.trading();
        return trading != address(0)
            && IForcedBids(trading).forcedBidHash(bid.account, bid.version) == Messages.hashStruct(bid);
    }

    /// @dev Deposits of all times and that result are at least the reserve. What was withdrawn is not looked at: it
    /// was free when it left.
    function _covers(uint32 account, int256 resultNano, uint256 reservedNano) private view returns (bool) {
        // Casting: deposits have 128 bits, a reserve at most 128.
        return int256(settlement.depositedNano(account)) + resultNano >= int256(reservedNano);
    }

    function _requireApplied(Command calldata command, address operator, address key) private view {
        Messages.SetPoint calldata setPoint = command.setPoint;
        Messages.SetPointReport calldata report = command.report;
        bool isSame = report.account == setPoint.account && report.device == setPoint.device
            && report.term == setPoint.term && report.sequence == setPoint.sequence && report.outcome == APPLIED;
        if (
            !isSame || !Signatures.isBy(operator, _digest(Messages.hashStruct(setPoint)), command.signature)
                || !Signatures.isBy(key, _digest(Messages.hashStruct(report)), command.reportSignature)
        ) revert WrongEvidence();
    }

    /// @dev Seconds of the interval from `fromS` in which the command was valid.
    function _overlapS(Messages.SetPoint calldata setPoint, uint256 fromS) private pure returns (uint256) {
        uint256 start = setPoint.issuedAtS > fromS ? setPoint.issuedAtS : fromS;
        uint256 endS = fromS + HeaderRules.INTERVAL_S;
        uint256 end = setPoint.validUntilS < endS ? setPoint.validUntilS : endS;
        return end > start ? end - start : 0;
    }

    function _abs(int256 value) private pure returns (uint256) {
        return uint256(value < 0 ? -value : value);
    }
}
