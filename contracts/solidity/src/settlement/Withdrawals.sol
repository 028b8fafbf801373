// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../interfaces/ISettlement.sol";
import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {Headers} from "./Headers.sol";

/// @title The way out: final cash leaves by one Merkle path, whatever else is stopped.
/// @notice Two things hold it back for a time. What is reserved may still be owed: it waits until it is settled, or
/// until no header came for `releaseAfterS`, when nobody settles it any more; a home that takes it and meets a
/// coordinator who comes back may end in debt, which the pool bears as any other. And the outflow cap lets a fraud that
/// became final be put right by later headers before everything is gone. It does not hold in that silence: nobody is
/// there to use the time it buys, and the cap of a dead community would only keep its own people out.
abstract contract Withdrawals is Headers {
    /// @dev At least this part of the pool is free on any day, whatever governance sets.
    uint256 private constant SLOWEST_EXIT_DAYS = 30;

    /// @inheritdoc ISettlement
    function withdraw(uint32 account, uint256 amountNano, Messages.BalanceLeaf memory leaf, bytes calldata path)
        external
    {
        Party storage party = _parties[account];
        if (msg.sender != party.owner) revert NotAuthorised();
        _requireFinalLeaf(account, leaf, path);
        uint88 amount = _nano(amountNano);

        int256 asked = int256(uint256(amount));
        int256 netNano = party.netNano;
        int256 cashNano = netNano + leaf.cumulativeNano - int256(uint256(leaf.reservedNano));
        if (asked > cashNano && isReleased()) cashNano += int256(uint256(leaf.reservedNano));
        if (asked > cashNano) revert ExceedsCash(cashNano);
        Pool memory pool = _pool;
        if (amount > pool.pooledNano) revert PoolShort(pool.pooledNano);
        if (pool.outflowCapNano != 0) _countOutflow(pool, amount);

        pool.pooledNano -= amount;
        _pool = pool;
        party.netNano = int96(netNano - asked);

        emit Withdrawn(account, msg.sender, amount);
        _push(msg.sender, amount);
    }

    /// @inheritdoc ISettlement
    function setOutflowCap(uint64 newCapNano) external onlyGovernance {
        _pool.outflowCapNano = newCapNano;
        emit OutflowCapSet(newCapNano);
    }

    /// @inheritdoc ISettlement
    function outflowCapNano() external view returns (uint64) {
        return _pool.outflowCapNano;
    }

    /// @inheritdoc ISettlement
    function outflowFreeNano() external view returns (uint256) {
        Pool memory pool = _pool;
        if (pool.outflowCapNano == 0 || isReleased()) return pool.pooledNano;
        uint256 freeNano = _freeOutflow(pool, _spentOn(pool, _today()));
        return freeNano < pool.pooledNano ? freeNano : pool.pooledNano;
    }

    function _countOutflow(Pool memory pool, uint88 amount) private view {
        uint16 day = _today();
        uint256 spentNano = _spentOn(pool, day);
        uint256 freeNano = _freeOutflow(pool, spentNano);
        if (amount > freeNano && !isReleased()) {
            revert ExceedsOutflow(freeNano, (block.timestamp / 1 days + 1) * 1 days);
        }
        pool.outflowNano = _nano(spentNano + amount);
        pool.day = day;
    }

    /// @dev The leaf is the account's in the final balances. An account without a final leaf, or any account before the
    /// first header, has earned and reserved nothing; the leaf then is all zero but the account.
    function _requireFinalLeaf(uint32 account, Messages.BalanceLeaf memory leaf, bytes calldata path) private view {
        bytes32 root = finalBalancesRoot;
        if (root == bytes32(0)) {
            // Nothing was ever traded with finality, yet an open header may hold debts.
            if (!_isZero(leaf) || headerCount() != 0) revert NotInTree();
            return;
        }
        if (leaf.account != account) revert NotInTree();
        if (!MerkleSum.isIn(root, account, Leaves.node(leaf), path, MerkleSum.DEPTH)) {
            MerkleSum.Node memory empty;
            if (!_isZero(leaf) || !MerkleSum.isIn(root, account, empty, path, MerkleSum.DEPTH)) revert NotInTree();
        }
    }

    function _isZero(Messages.BalanceLeaf memory leaf) private pure returns (bool) {
        return leaf.cumulativeNano == 0 && leaf.reservedNano == 0 && leaf.commitmentsHash == bytes32(0);
    }

    function _freeOutflow(Pool memory pool, uint256 spentNano) private pure returns (uint256) {
        uint256 slowestNano = (pool.pooledNano + spentNano) / SLOWEST_EXIT_DAYS;
        uint256 limitNano = pool.outflowCapNano > slowestNano ? pool.outflowCapNano : slowestNano;
        return limitNano > spentNano ? limitNano - spentNano : 0;
    }

    function _spentOn(Pool memory pool, uint16 day) private pure returns (uint256) {
        return pool.day == day ? pool.outflowNano : 0;
    }

    /// @dev The last bits are enough: 179 years lie between two days of one number.
    function _today() private view returns (uint16) {
        return uint16(block.timestamp / 1 days);
    }
}
