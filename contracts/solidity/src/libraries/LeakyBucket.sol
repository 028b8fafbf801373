// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title How often somebody may do something that costs others work.
/// @notice A bucket is one number: the time at which it will be empty. Every act pours `leakS` seconds in, and no more
/// than `capacity` acts fit at once; in the long run one act each `leakS`.
library LeakyBucket {
    /// @notice Too many of late; the next is free at `untilS`.
    error RateLimited(uint256 untilS);

    /// @notice When a bucket that would be empty at `drainedAtS` is empty after one more act now.
    function pour(uint128 drainedAtS, uint32 capacity, uint32 leakS) internal view returns (uint128) {
        uint256 fromS = drainedAtS > block.timestamp ? drainedAtS : block.timestamp;
        uint256 fullS = uint256(capacity) * leakS;
        if (fromS + leakS > block.timestamp + fullS) revert RateLimited(fromS + leakS - fullS);
        // Casting: a time and two factors of 32 bits.
        return uint128(fromS + leakS);
    }
}
