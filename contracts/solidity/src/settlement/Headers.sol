// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IPostingBounds} from "../interfaces/IPostingBounds.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {ClearingRules} from "../libraries/ClearingRules.sol";
import {Domain} from "../libraries/Domain.sol";
import {HeaderRules} from "../libraries/HeaderRules.sol";
import {Messages} from "../libraries/Messages.sol";
import {Accounts} from "./Accounts.sol";

/// @title The chain of headers and the bond behind it.
/// @dev Posting writes one new slot, the header's commitment, and one old one, the tip; it reads two slots more.
/// A commitment keeps 216 bits of the digest beside 40 of the time. Whoever wants to pass off another header for a
/// posted one needs its 216 bits (2**216 digests); whoever posts may prepare two headers that share them, which takes
/// 2**108 digests: every machine that ever mined has done some 2**97 hashes in all.
abstract contract Headers is Accounts {
    struct Operator {
        address coordinator;
        uint88 bondNano;
        bool halted;
    }

    struct Limits {
        address bounds;
        int48 tariffImport;
        int48 tariffExport;
    }

    /// @dev `tipTail` is what the tip's commitment lacks of its digest, so that `previous` is compared in full.
    struct Chain {
        uint40 count;
        uint40 finalisedCount;
        uint40 tipInterval;
        uint40 lastPostedAt;
        uint40 tipTail;
    }

    /// @dev Bits of a commitment that hold the time.
    uint256 private constant TIME_BITS = 40;
    uint64 private constant SHORTEST_RELEASE_S = 1 days;

    /// @inheritdoc ISettlement
    uint64 public immutable finalityWindowS;
    /// @inheritdoc ISettlement
    uint64 public immutable graceIntervals;
    /// @inheritdoc ISettlement
    uint64 public immutable gateLeads;
    /// @inheritdoc ISettlement
    uint8 public immutable spotRule;
    /// @inheritdoc ISettlement
    uint64 public immutable releaseAfterS;
    /// @inheritdoc ISettlement
    uint256 public immutable minimumBondNano;
    uint256 private immutable _deployedChainId;
    bytes32 private immutable _deployedSeparator;

    Operator private _operator;
    Limits private _limits;
    Chain private _chain;
    /// @inheritdoc ISettlement
    bytes32 public finalBalancesRoot;
    /// @inheritdoc ISettlement
    address public guardian;
    address private _trading;
    /// @inheritdoc ISettlement
    address[4] public challenges;
    /// @inheritdoc ISettlement
    mapping(uint256 index => bytes32 commitment) public commitments;

    constructor(address coordinator_, Terms memory terms, int64 tariffImport, int64 tariffExport) {
        if (coordinator_ == address(0)) revert ZeroAddress();
        bool isSpot = terms.spotRule == ClearingRules.SPOT_SHARED || terms.spotRule == ClearingRules.SPOT_AUCTION;
        if (!isSpot || terms.releaseAfterS < SHORTEST_RELEASE_S) revert WrongTerms();
        finalityWindowS = terms.finalityWindowS;
        graceIntervals = terms.graceIntervals;
        gateLeads = terms.gateLeads;
        spotRule = terms.spotRule;
        releaseAfterS = terms.releaseAfterS;
        minimumBondNano = terms.minimumBondNano;
        _deployedChainId = block.chainid;
        _deployedSeparator = Domain.separator(block.chainid, address(this));
        // Halted until the challenge contracts are named: without them no lie could be shown.
        _operator = Operator(coordinator_, 0, true);
        _chain.lastPostedAt = uint40(block.timestamp);
        _setTariffs(tariffImport, tariffExport);
    }

    /// @inheritdoc ISettlement
    function post(Messages.Header memory header) external returns (uint256 index) {
        Operator memory operator = _operator;
        if (msg.sender != operator.coordinator) revert NotAuthorised();
        if (operator.halted) revert IsHalted();
        if (operator.bondNano < minimumBondNano) revert BondTooSmall(operator.bondNano);
        Chain memory chain = _chain;
        bytes32 tip = _tip(chain);
        if (header.previous != tip) revert NotAfterTip(tip);
        uint64 interval = header.interval;
        if (chain.count != 0 && interval != uint256(chain.tipInterval) + 1) revert WrongInterval(interval);
        if ((uint256(interval) + 1) * HeaderRules.INTERVAL_S > block.timestamp) revert IntervalNotOver(interval);
        _requireWithin(header);

        index = chain.count;
        bytes32 digest = _digest(header);

        chain.count += 1;
        chain.tipInterval = uint40(interval);
        chain.lastPostedAt = uint40(block.timestamp);
        chain.tipTail = uint40(uint256(digest));
        _chain = chain;
        commitments[index] = bytes32((uint256(digest) >> TIME_BITS << TIME_BITS) | uint40(block.timestamp));

        emit HeaderPosted(index, digest, uint64(block.timestamp), header);
    }

    /// @inheritdoc ISettlement
    function finalise(HeaderProof calldata proof) external {
        bytes32 digest = _open(proof);
        uint256 untilS = uint256(postedAt(proof.index)) + finalityWindowS;
        if (block.timestamp < untilS) revert StillChallengeable(untilS);

        // Headers before it were posted no later, so their windows are over as well.
        _chain.finalisedCount = uint40(proof.index + 1);
        finalBalancesRoot = proof.header.balancesRoot;

        emit Finalised(proof.index, digest);
    }

    /// @inheritdoc ISettlement
    function voidHeader(HeaderProof calldata proof, address challenger, Lie reason, uint8 fault) external {
        if (!_isChallenge(msg.sender)) revert NotAuthorised();
        _open(proof);
        uint256 lostNano = _operator.bondNano;
        uint256 rewardNano = lostNano / 2;

        _chain.count = uint40(proof.index);
        // At the first header nothing is restored: with no header posted, the next may be of any interval.
        _chain.tipInterval = proof.index == 0 ? 0 : uint40(proof.header.interval - 1);
        _chain.tipTail = uint40(uint256(proof.header.previous));
        _operator.halted = true;
        _operator.bondNano = 0;
        fundNano += lostNano - rewardNano;

        emit Voided(proof.index, challenger, reason, fault);
        emit Halted();
        _push(challenger, rewardNano);
    }

    /// @inheritdoc ISettlement
    function postBond(uint256 amountNano) external {
        _addBond(amountNano);
        _pull(msg.sender, amountNano);
    }

    /// @inheritdoc ISettlement
    function releaseBond(uint256 amountNano) external onlyGovernance {
        uint256 heldNano = _operator.bondNano;
        uint256 keptNano = _chain.finalisedCount == _chain.count ? 0 : minimumBondNano;
        uint256 freeNano = heldNano > keptNano ? heldNano - keptNano : 0;
        if (amountNano > freeNano) revert ExceedsFree(freeNano);

        _operator.bondNano = uint88(heldNano - amountNano);

        emit BondReleased(amountNano);
        _push(governance, amountNano);
    }

    /// @inheritdoc ISettlement
    function halt() external {
        if (msg.sender != governance && msg.sender != guardian) revert NotAuthorised();
        if (_operator.halted) revert IsHalted();
        _operator.halted = true;
        emit Halted();
    }

    /// @inheritdoc ISettlement
    function restart(uint256 amountNano, address newCoordinator) external onlyGovernance {
        if (challenges[0] == address(0)) revert ChallengesNotSet();
        if (!_operator.halted) revert NotHalted();
        if (newCoordinator == address(0)) revert ZeroAddress();
        _addBond(amountNano);
        if (_operator.bondNano < minimumBondNano) revert BondTooSmall(_operator.bondNano);

        _operator.halted = false;
        _operator.coordinator = newCoordinator;

        emit Restarted(newCoordinator);
        _pull(msg.sender, amountNano);
    }

    /// @inheritdoc ISettlement
    function setTrading(address newTrading) external onlyGovernance {
        if (_trading != address(0)) revert TradingAlreadySet();
        if (newTrading == address(0)) revert ZeroAddress();
        _trading = newTrading;
        emit TradingSet(newTrading);
    }

    /// @inheritdoc ISettlement
    function setChallenges(address[4] calldata newChallenges) external onlyGovernance {
        if (challenges[0] != address(0)) revert ChallengesAlreadySet();
        for (uint256 i = 0; i < newChallenges.length; i++) {
            if (newChallenges[i] == address(0)) revert ZeroAddress();
        }
        challenges = newChallenges;
        _operator.halted = false;
        emit ChallengesSet(newChallenges);
    }

    /// @inheritdoc ISettlement
    function setGuardian(address newGuardian) external onlyGovernance {
        guardian = newGuardian;
        emit GuardianSet(newGuardian);
    }

    /// @inheritdoc ISettlement
    function setTariffs(int64 newImport, int64 newExport) external onlyGovernance {
        _setTariffs(newImport, newExport);
    }

    /// @inheritdoc ISettlement
    function setBounds(address newBounds) external onlyGovernance {
        _limits.bounds = newBounds;
        emit BoundsSet(newBounds);
    }

    /// @inheritdoc ISettlement
    function requireOpen(HeaderProof calldata proof) external view {
        _open(proof);
    }

    /// @inheritdoc ISettlement
    function requirePosted(HeaderProof calldata proof) external view {
        _posted(proof);
    }

    /// @inheritdoc ISettlement
    function requireFinal(HeaderProof calldata proof) external view {
        if (proof.index >= _chain.finalisedCount) revert NotFinal(proof.index);
        _posted(proof);
    }

    /// @inheritdoc ISettlement
    function postedAt(uint256 index) public view returns (uint64) {
        if (index >= _chain.count) revert UnknownHeader(index);
        return uint40(uint256(commitments[index]));
    }

    /// @inheritdoc ISettlement
    function domainSeparator() public view returns (bytes32) {
        // After a fork of the chain the two halves must not accept each other's signatures.
        return block.chainid == _deployedChainId ? _deployedSeparator : Domain.separator(block.chainid, address(this));
    }

    /// @inheritdoc ISettlement
    function tariffs() external view returns (int64 tariffImport, int64 tariffExport) {
        return (_limits.tariffImport, _limits.tariffExport);
    }

    /// @inheritdoc ISettlement
    function bounds() external view returns (address) {
        return _limits.bounds;
    }

    /// @inheritdoc ISettlement
    function coordinator() external view returns (address) {
        return _operator.coordinator;
    }

    /// @inheritdoc ISettlement
    function bondNano() external view returns (uint256) {
        return _operator.bondNano;
    }

    /// @inheritdoc ISettlement
    function trading() public view override returns (address) {
        return _trading;
    }

    /// @inheritdoc ISettlement
    function halted() public view override returns (bool) {
        return _operator.halted;
    }

    /// @inheritdoc ISettlement
    function headerCount() public view returns (uint256) {
        return _chain.count;
    }

    /// @inheritdoc ISettlement
    function finalisedCount() external view returns (uint256) {
        return _chain.finalisedCount;
    }

    /// @inheritdoc ISettlement
    function tipDigest() external view returns (bytes32) {
        return _tip(_chain);
    }

    /// @inheritdoc ISettlement
    function tipInterval() external view returns (uint64) {
        return _chain.tipInterval;
    }

    /// @inheritdoc ISettlement
    function lastPostedAt() external view returns (uint64) {
        return _chain.lastPostedAt;
    }

    /// @inheritdoc ISettlement
    function isReleased() public view returns (bool) {
        Chain memory chain = _chain;
        return chain.finalisedCount == chain.count && block.timestamp >= uint256(chain.lastPostedAt) + releaseAfterS;
    }

    /// @dev What a header must keep whatever it commits to: tariffs, prices, volume.
    function _requireWithin(Messages.Header memory header) private view {
        Limits memory limits = _limits;
        if (header.tariffImport != limits.tariffImport || header.tariffExport != limits.tariffExport) {
            revert NotTheTariffs(limits.tariffImport, limits.tariffExport);
        }
        int64 price = header.spotPrice;
        // A shared spot price is the operator's word and is held in bounds. Under `SPOT_AUCTION` it follows from the
        // homes' limits by the clearing rule; refusing it would stop the market for what its people asked.
        bool isShared = spotRule == ClearingRules.SPOT_SHARED;
        if (isShared && (price < limits.tariffExport || price > limits.tariffImport)) {
            revert PriceOutOfBounds(limits.tariffExport, limits.tariffImport);
        }
        if (limits.bounds == address(0)) return;
        (int64 floor, int64 cap, uint64 limitWh, bool isOpen) = IPostingBounds(limits.bounds).postingBounds();
        if (!isOpen) revert PostingClosed();
        if (isShared && (price < floor || price > cap)) revert PriceOutOfBounds(floor, cap);
        if (header.volumeWh > limitWh) revert VolumeOutOfBounds(limitWh);
    }

    /// @dev The digest of a header that is posted, not void and not final.
    function _open(HeaderProof calldata proof) private view returns (bytes32) {
        if (proof.index < _chain.finalisedCount) revert AlreadyFinal(proof.index);
        return _posted(proof);
    }

    /// @dev The digest of a header that is posted and not void.
    function _posted(HeaderProof calldata proof) private view returns (bytes32 digest) {
        if (proof.index >= _chain.count) revert UnknownHeader(proof.index);
        digest = _digest(proof.header);
        if (uint256(digest ^ commitments[proof.index]) >> TIME_BITS != 0) revert UnknownHeader(proof.index);
    }

    function _tip(Chain memory chain) private view returns (bytes32) {
        if (chain.count == 0) return bytes32(0);
        return bytes32((uint256(commitments[chain.count - 1]) >> TIME_BITS << TIME_BITS) | chain.tipTail);
    }

    function _digest(Messages.Header memory header) private view returns (bytes32) {
        return Domain.digest(domainSeparator(), Messages.hashStruct(header));
    }

    function _isChallenge(address caller) private view returns (bool) {
        for (uint256 i = 0; i < challenges.length; i++) {
            if (caller == challenges[i]) return true;
        }
        return false;
    }

    function _setTariffs(int64 newImport, int64 newExport) private {
        bool fits = newImport <= type(int48).max && newExport >= type(int48).min && newExport <= newImport;
        if (!fits) revert WrongTariffs(newImport, newExport);
        _limits.tariffImport = int48(newImport);
        _limits.tariffExport = int48(newExport);
        emit TariffsSet(newImport, newExport);
    }

    function _addBond(uint256 amountNano) private {
        uint256 bond = _operator.bondNano + amountNano;
        if (bond > type(uint88).max) revert ExceedsFree(type(uint88).max);
        _operator.bondNano = uint88(bond);
        emit BondPosted(msg.sender, amountNano);
    }
}
