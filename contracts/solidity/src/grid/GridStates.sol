// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Feeders} from "./Feeders.sol";

/// @title In which state a feeder and its breaker are, with legal transitions only.
/// @notice
///     from \ to     Normal  Alert  Emergency  Restoring        from \ to   Closed  Open  HalfOpen
///     Normal                  x        x                       Closed                x
///     Alert            x               x                       Open                          x
///     Emergency                                   x            HalfOpen       x      x
///     Restoring        x      x        x
/// An emergency ends only through restoration, and no breaker closes without a probation.
/// @dev A record of what the edge and the operator did: breakers open by local protection and ask no chain.
abstract contract GridStates is Feeders {
    /// @dev Rows of the tables above, four bits each, the first row lowest; in a row bit 0 is the first column.
    uint256 private constant GRID_TRANSITIONS = 0x7856;
    uint256 private constant BREAKER_TRANSITIONS = 0x342;

    /// @notice The grid of a feeder changed its state.
    event GridStateChanged(uint32 indexed feeder, GridState from, GridState to);
    /// @notice The breaker of a feeder changed its state.
    event BreakerStateChanged(uint32 indexed feeder, BreakerState from, BreakerState to);

    /// @notice That state does not follow this one.
    error IllegalGridTransition(GridState from, GridState to);
    /// @notice That state does not follow this one.
    error IllegalBreakerTransition(BreakerState from, BreakerState to);

    /// @notice Records the state of a feeder's grid. Restricted.
    function setGridState(uint32 feeder, GridState to) external restricted {
        GridState from = feederOf(feeder).state;
        if (!mayFollow(from, to)) revert IllegalGridTransition(from, to);
        _feeders[feeder].state = to;
        emit GridStateChanged(feeder, from, to);
    }

    /// @notice Records the state of a feeder's breaker. Restricted.
    function setBreakerState(uint32 feeder, BreakerState to) external restricted {
        BreakerState from = feederOf(feeder).breaker;
        if (!breakerMayFollow(from, to)) revert IllegalBreakerTransition(from, to);
        _feeders[feeder].breaker = to;
        emit BreakerStateChanged(feeder, from, to);
    }

    /// @notice Whether the state `to` may follow `from`.
    function mayFollow(GridState from, GridState to) public pure returns (bool) {
        return GRID_TRANSITIONS >> (uint256(from) * 4 + uint256(to)) & 1 == 1;
    }

    /// @notice Whether the breaker's state `to` may follow `from`.
    function breakerMayFollow(BreakerState from, BreakerState to) public pure returns (bool) {
        return BREAKER_TRANSITIONS >> (uint256(from) * 4 + uint256(to)) & 1 == 1;
    }
}
