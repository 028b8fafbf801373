// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "./ISettlement.sol";

/// @title What other contracts ask a settlement: which headers are final, whose an account is, what money is.
interface IFinalHeaders {
    /// @notice Reverts unless the header is posted, not void, and final.
    function requireFinal(ISettlement.HeaderProof calldata proof) external view;
    /// @notice How many intervals after delivery an interval is settled.
    function graceIntervals() external view returns (uint64);
    /// @notice The owner of `account`; zero where there is none.
    function ownerOf(uint32 account) external view returns (address);
    /// @notice The token of all amounts.
    function token() external view returns (address);
    /// @notice Base units of the token in one nano-currency.
    function tokenUnitsPerNano() external view returns (uint256);
}
