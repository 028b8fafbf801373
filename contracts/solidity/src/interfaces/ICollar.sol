// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Between which values a quantity lies, as far as the oracle knows.
interface ICollar {
    /// @notice Lowest and highest value, and when the answer between them was observed (0 before a first one). Never
    /// reverts.
    function collar() external view returns (int64 floor, int64 cap, uint64 observedAtS);

    /// @notice What the collar follows from by `Collars.around`, for whoever keeps a copy of it. Never reverts.
    function standing()
        external
        view
        returns (int64 answer, uint40 observedAtS, uint32 staleAfterS, uint64 width, int64 minimum, int64 maximum);
}
