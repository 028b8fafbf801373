// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Signatures over digests: secp256k1, low s only, 65 bytes r, s, v.
/// @notice The malleable twin of a signature does not count, so that one message has one signature of one key; the
/// same refusals as in contracts/signature.py.
library Signatures {
    /// @notice Bytes of every signature.
    uint256 internal constant LENGTH = 65;

    uint256 private constant HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0;

    /// @notice Whether `key` signed `digest`. The zero address never did.
    function isBy(address key, bytes32 digest, bytes memory signature) internal pure returns (bool) {
        if (signature.length != LENGTH || key == address(0)) return false;
        bytes32 r;
        bytes32 s;
        uint8 v;
        assembly ("memory-safe") {
            r := mload(add(signature, 0x20))
            s := mload(add(signature, 0x40))
            v := byte(0, mload(add(signature, 0x60)))
        }
        if (uint256(s) > HALF_ORDER || (v != 27 && v != 28)) return false;
        return ecrecover(digest, v, r, s) == key;
    }
}
