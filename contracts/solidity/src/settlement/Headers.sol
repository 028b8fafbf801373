// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../interfaces/ISettlement.sol";
import {Domain} from "../libraries/Domain.sol";
import {HeaderRules} from "../libraries/HeaderRules.sol";
import {Messages} from "../libraries/Messages.sol";
import {Accounts} from "./Accounts.sol";

/// @title The chain of headers and the bond behind it.
/// @dev A header costs one new storage slot. Everything else that posting touches is one packed slot and the tip.
abstract contract Headers is Accounts {
    struct Chain {
        uint40 count;
        uint40 finalisedCount;
        uint40 tipInterval;
        uint40 lastPostedAt;
        bool halted;
        uint88 bondNano;
    }

    /// @inheritdoc ISettlement
    uint64 public immutable finalityWindowS;
    /// @inheritdoc ISettlement
    uint64 public immutable graceIntervals;
    /// @inheritdoc ISettlement
    uint256 public immutable minimumBondNano;
    uint256 private immutable _deployedChainId;
    bytes32 private immutable _deployedSeparator;

    Chain internal _chain;
    /// @inheritdoc ISettlement
    bytes32 public tipDigest;
    /// @inheritdoc ISettlement
    bytes32 public finalBalancesRoot;
    /// @inheritdoc ISettlement
    address public coordinator;
    /// @inheritdoc ISettlement
    mapping(uint256 index => bytes32 commitment) public commitments;

    constructor(address coordinator_, uint64 finalityWindowS_, uint64 graceIntervals_, uint256 minimumBondNano_) {
        if (coordinator_ == address(0)) revert ZeroAddress();
        coordinator = coordinator_;
        finalityWindowS = finalityWindowS_;
        graceIntervals = graceIntervals_;
        minimumBondNano = minimumBondNano_;
        _deployedChainId = block.chainid;
        _deployedSeparator = Domain.separator(block.chainid, address(this));
        _chain.lastPostedAt = uint40(block.timestamp);
    }

    /// @inheritdoc ISettlement
    function post(Messages.Header calldata header) external returns (uint256 index) {
        Chain memory chain = _chain;
        if (msg.sender != coordinator) revert NotAuthorised();
        if (chain.halted) revert IsHalted();
        if (chain.bondNano < minimumBondNano) revert BondTooSmall(chain.bondNano);
        if (header.previous != tipDigest) revert NotAfterTip(tipDigest);
        if (chain.count != 0 && header.interval != uint256(chain.tipInterval) + 1) {
            revert WrongInterval(header.interval);
        }
        if ((uint256(header.interval) + 1) * HeaderRules.INTERVAL_S > block.timestamp) {
            revert IntervalNotOver(header.interval);
        }

        index = chain.count;
        uint64 postedAt = uint64(block.timestamp);
        bytes32 digest = _digest(header);

        chain.count += 1;
        chain.tipInterval = uint40(header.interval);
        chain.lastPostedAt = uint40(postedAt);
        _chain = chain;
        tipDigest = digest;
        commitments[index] = keccak256(abi.encode(digest, postedAt));

        emit HeaderPosted(index, digest, postedAt, header);
    }

    /// @inheritdoc ISettlement
    function finalise(HeaderProof calldata proof) external {
        bytes32 digest = _unfinal(proof);
        uint256 untilS = uint256(proof.postedAt) + finalityWindowS;
        if (block.timestamp < untilS) revert StillChallengeable(untilS);

        // Headers before it were posted no later, so their windows are over as well.
        _chain.finalisedCount = uint40(proof.index + 1);
        finalBalancesRoot = proof.header.balancesRoot;

        emit Finalised(proof.index, digest);
    }

    /// @inheritdoc ISettlement
    function postBond(uint256 amountNano) external {
        _addBond(amountNano);
        _pull(msg.sender, amountNano);
    }

    /// @inheritdoc ISettlement
    function releaseBond(uint256 amountNano) external onlyGovernance {
        Chain memory chain = _chain;
        uint256 keptNano = chain.finalisedCount == chain.count ? 0 : minimumBondNano;
        uint256 freeNano = chain.bondNano > keptNano ? chain.bondNano - keptNano : 0;
        if (amountNano > freeNano) revert ExceedsFree(freeNano);

        _chain.bondNano = chain.bondNano - uint88(amountNano);

        emit BondReleased(amountNano);
        _push(governance, amountNano);
    }

    /// @inheritdoc ISettlement
    function halt() external onlyGovernance {
        if (_chain.halted) revert IsHalted();
        _chain.halted = true;
        emit Halted();
    }

    /// @inheritdoc ISettlement
    function restart(uint256 amountNano, address newCoordinator) external onlyGovernance {
        if (!_chain.halted) revert NotHalted();
        if (newCoordinator == address(0)) revert ZeroAddress();
        _addBond(amountNano);
        if (_chain.bondNano < minimumBondNano) revert BondTooSmall(_chain.bondNano);

        _chain.halted = false;
        coordinator = newCoordinator;

        emit Restarted(newCoordinator);
        _pull(msg.sender, amountNano);
    }

    /// @inheritdoc ISettlement
    function domainSeparator() public view returns (bytes32) {
        // After a fork of the chain the two halves must not accept each other's signatures.
        return block.chainid == _deployedChainId ? _deployedSeparator : Domain.separator(block.chainid, address(this));
    }

    /// @inheritdoc ISettlement
    function headerCount() external view returns (uint256) {
        return _chain.count;
    }

    /// @inheritdoc ISettlement
    function finalisedCount() external view returns (uint256) {
        return _chain.finalisedCount;
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
    function halted() public view override returns (bool) {
        return _chain.halted;
    }

    /// @inheritdoc ISettlement
    function bondNano() external view returns (uint256) {
        return _chain.bondNano;
    }

    function _digest(Messages.Header memory header) internal view returns (bytes32) {
        return Domain.digest(domainSeparator(), Messages.hashStruct(header));
    }

    /// @dev The digest of a header that is posted, not void and not final.
    function _unfinal(HeaderProof calldata proof) internal view returns (bytes32 digest) {
        if (proof.index >= _chain.count) revert UnknownHeader(proof.index);
        if (proof.index < _chain.finalisedCount) revert AlreadyFinal(proof.index);
        digest = _digest(proof.header);
        if (commitments[proof.index] != keccak256(abi.encode(digest, proof.postedAt))) {
            revert UnknownHeader(proof.index);
        }
    }

    /// @dev Voids a header and all later ones, which build on it; halts; splits the bond between challenger and fund.
    function _void(HeaderProof calldata proof, Lie reason, uint8 fault) internal {
        uint256 lostNano = _chain.bondNano;
        uint256 rewardNano = lostNano / 2;

        _chain.count = uint40(proof.index);
        // At the first header nothing is restored: with no header posted, the next may be of any interval.
        _chain.tipInterval = proof.index == 0 ? 0 : uint40(proof.header.interval - 1);
        _chain.halted = true;
        _chain.bondNano = 0;
        tipDigest = proof.header.previous;
        _pool.fundNano += _nano(lostNano - rewardNano);

        emit Voided(proof.index, msg.sender, reason, fault);
        emit Halted();
        _push(msg.sender, rewardNano);
    }

    function _addBond(uint256 amountNano) private {
        uint256 bond = _chain.bondNano + amountNano;
        if (bond > type(uint88).max) revert ExceedsFree(type(uint88).max);
        _chain.bondNano = uint88(bond);
        emit BondPosted(msg.sender, amountNano);
    }
}
