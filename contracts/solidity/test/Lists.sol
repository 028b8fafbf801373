// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Commitments} from "../src/libraries/Commitments.sol";

/// @dev Lists of commitments as an operator hashes them and a challenger opens them, each by its definition.
library Lists {
    function chunkOf(Commitments.Commitment[] memory list, uint256 chunk)
        internal
        pure
        returns (Commitments.Commitment[] memory entries)
    {
        uint256 length = list.length < 8 * chunk ? 0 : list.length - 8 * chunk;
        entries = new Commitments.Commitment[](length < 8 ? length : 8);
        for (uint256 i = 0; i < entries.length; i++) {
            entries[i] = list[8 * chunk + i];
        }
    }

    function headsOf(Commitments.Commitment[] memory list) internal pure returns (bytes memory heads) {
        for (uint256 chunk = 0; 8 * chunk < list.length; chunk++) {
            Commitments.Commitment[] memory entries = chunkOf(list, chunk);
            bytes memory packed;
            for (uint256 i = 0; i < entries.length; i++) {
                packed = abi.encodePacked(packed, entries[i].product, entries[i].bidNano, entries[i].intervalNano);
            }
            heads = abi.encodePacked(heads, entries[0].product, keccak256(packed));
        }
    }

    function hashOf(Commitments.Commitment[] memory list) internal pure returns (bytes32) {
        return list.length == 0 ? bytes32(0) : keccak256(headsOf(list));
    }

    /// @dev Of a sorted list.
    function openingOf(Commitments.Commitment[] memory list, uint64 product)
        internal
        pure
        returns (Commitments.Opening memory)
    {
        uint256 before = 0;
        for (uint256 i = 0; i < list.length; i++) {
            if (list[i].product <= product) before = i;
        }
        return Commitments.Opening(headsOf(list), before / 8, chunkOf(list, before / 8));
    }
}
