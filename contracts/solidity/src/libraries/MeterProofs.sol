// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Leaves} from "./Leaves.sol";
import {MerkleSum} from "./MerkleSum.sol";
import {Messages} from "./Messages.sol";

/// @title What the meters of an account showed, proven against the meters root of a header.
library MeterProofs {
    /// @notice A meter leaf and its path to the root, packed as `MerkleSum.rootOf` says.
    struct MeterProof {
        Messages.MeterLeaf leaf;
        bytes path;
    }

    /// @notice The leaf does not stand at that account under that root.
    error MeterNotInTree(uint32 account);

    /// @notice Reverts unless the leaf is the one of `account` under `metersRoot`.
    function requireIn(bytes32 metersRoot, uint32 account, MeterProof calldata proof) internal pure {
        if (
            proof.leaf.account != account
                || !MerkleSum.isIn(metersRoot, account, Leaves.node(proof.leaf), proof.path, MerkleSum.DEPTH)
        ) revert MeterNotInTree(account);
    }
}
