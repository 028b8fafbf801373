// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title The collar that follows from an oracle's answer, for the oracle itself and for whoever keeps a copy.
library Collars {
    /// @notice Lowest and highest value now, as far as an answer observed at `observedAtS` tells (0 for none):
    /// `width` to both sides, doubled with every `staleAfterS` of age, and never beyond [minimum, maximum].
    /// @dev For callers who hold these: the answer lies in [minimum, maximum], no observation is of the future,
    /// `staleAfterS` and `width` are not zero, and all values and the width have at most 64 bits.
    function around(
        int256 answer,
        uint256 observedAtS,
        uint256 staleAfterS,
        uint256 width,
        int64 minimum,
        int64 maximum
    ) internal view returns (int64 floor, int64 cap) {
        (floor, cap) = (minimum, maximum);
        if (observedAtS == 0) return (floor, cap);
        // Unchecked, because every posting of a header pays for it; a test holds it to the formula by plain doubling.
        unchecked {
            uint256 steps = (block.timestamp - observedAtS) / staleAfterS;
            // Sixty-four doublings of any width exceed every int64.
            if (steps > 63) return (floor, cap);
            // Casting: at most 64 bits, shifted by at most 63; and a bound that is taken lies in [minimum, maximum].
            int256 reach = int256(width << steps);
            if (answer - reach > minimum) floor = int64(answer - reach);
            if (answer + reach < maximum) cap = int64(answer + reach);
        }
    }
}
