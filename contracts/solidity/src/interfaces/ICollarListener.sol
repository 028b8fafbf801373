// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title Who keeps a copy of what an oracle's collar follows from.
interface ICollarListener {
    /// @notice Tells what the collar follows from now on, as `ICollar.standing` returns it. By the oracle.
    /// @dev Reverting refuses the copy and stops nothing: the oracle notes it and goes on.
    function onStanding(
        int64 answer,
        uint40 observedAtS,
        uint32 staleAfterS,
        uint64 width,
        int64 minimum,
        int64 maximum
    ) external;
}
