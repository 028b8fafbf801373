// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IFinalHeaders} from "./IFinalHeaders.sol";

/// @title What checking a home's signature needs of a settlement, besides its final headers.
interface IHomeKeys is IFinalHeaders {
    /// @notice The key of the home of `account`; zero where there is none.
    function keyOf(uint32 account) external view returns (address);
    /// @notice EIP-712 domain separator of the settlement.
    function domainSeparator() external view returns (bytes32);
}
