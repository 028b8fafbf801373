// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Where a signature counts: one chain, one settlement contract.
library Domain {
    bytes32 private constant TYPE_HASH =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant NAME_HASH = keccak256("energy-grid");
    bytes32 private constant VERSION_HASH = keccak256("1");

    /// @notice EIP-712 domain separator of `settlement` on the chain `chainId`.
    function separator(uint256 chainId, address settlement) internal pure returns (bytes32) {
        return keccak256(abi.encode(TYPE_HASH, NAME_HASH, VERSION_HASH, chainId, settlement));
    }

    /// @notice What is signed.
    function digest(bytes32 domainSeparator, bytes32 structHash) internal pure returns (bytes32) {
        return keccak256(abi.encodePacked(hex"1901", domainSeparator, structHash));
    }
}
