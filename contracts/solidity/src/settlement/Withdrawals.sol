// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../interfaces/ISettlement.sol";
import {Leaves} from "../libraries/Leaves.sol";
import {MerkleSum} from "../libraries/MerkleSum.sol";
import {Messages} from "../libraries/Messages.sol";
import {Headers} from "./Headers.sol";

/// @title The way out: final cash leaves by one Merkle path, whatever else is stopped.
abstract contract Withdrawals is Headers {
    /// @inheritdoc ISettlement
    function withdraw(
        uint32 account,
        uint256 amountNano,
        Messages.BalanceLeaf calldata leaf,
        MerkleSum.Node[] calldata siblings
    ) external {
        if (msg.sender != ownerOf(account)) revert NotAuthorised();
        int256 earnedNano = _finalEarnings(account, leaf, siblings);
        Purse memory purse = _purses[account];
        uint128 pooled = _pool.pooledNano;

        int256 paidInNano = int256(uint256(purse.depositedNano)) - int256(uint256(purse.withdrawnNano));
        int256 cashNano = paidInNano + earnedNano;
        uint128 amount = _nano(amountNano);
        if (int256(uint256(amount)) > cashNano) revert ExceedsCash(cashNano);
        if (amount > pooled) revert PoolShort(pooled);

        _purses[account].withdrawnNano = purse.withdrawnNano + amount;
        _pool.pooledNano = pooled - amount;

        emit Withdrawn(account, msg.sender, amount);
        _push(msg.sender, amount);
    }

    /// @dev Cumulative result less what is reserved. An account without a final leaf, or any account before the first
    /// final header, has earned and reserved nothing; the leaf then is all zero but the account.
    function _finalEarnings(uint32 account, Messages.BalanceLeaf calldata leaf, MerkleSum.Node[] calldata siblings)
        private
        view
        returns (int256)
    {
        bool isAbsent = leaf.cumulativeNano == 0 && leaf.reservedNano == 0;
        if (finalBalancesRoot == bytes32(0)) {
            // Nothing was ever traded with finality, yet an open header may hold debts: see README, "first header".
            if (!isAbsent || _chain.count != 0) revert NotInTree();
            return 0;
        }
        if (leaf.account != account || siblings.length != MerkleSum.DEPTH) revert NotInTree();
        if (!MerkleSum.isIn(finalBalancesRoot, account, Leaves.node(leaf), siblings)) {
            MerkleSum.Node memory empty;
            if (!isAbsent || !MerkleSum.isIn(finalBalancesRoot, account, empty, siblings)) revert NotInTree();
        }
        return int256(leaf.cumulativeNano) - int256(uint256(leaf.reservedNano));
    }
}
