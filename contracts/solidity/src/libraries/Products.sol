// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// @title What a product's number says: when it delivers, how long, when its gate closes.
/// @notice A number is the first interval times 1,024 plus the length. Legal lengths are 1, 4, 96 and 672 intervals,
/// their places 0 … 3; any other number is a lie that must be representable, so nothing here reverts. Intervals are
/// int256: the settled interval of a header within the first grace period is below zero. contracts/interval.py is the
/// same in Python.
library Products {
    /// @notice Place of a length that no product has.
    uint256 internal constant NO_PLACE = 4;

    uint256 private constant QUARTER_HOUR = 1;
    uint256 private constant HOUR = 4;
    uint256 private constant DAY = 96;
    uint256 private constant WEEK = 672;
    uint256 private constant FACTOR_BITS = 10;
    uint256 private constant LENGTH_MASK = (1 << FACTOR_BITS) - 1;
    /// @dev Bits of one gate lead among the four that are packed into one number.
    uint256 private constant LEAD_BITS = 16;
    /// @dev Weeks begin on Monday: the epoch was a Thursday, its first Monday four days later.
    int256 private constant FIRST_MONDAY = 4 * 96;

    /// @notice First interval of the product with that number.
    function firstOf(uint64 product) internal pure returns (int256) {
        return int256(uint256(product) >> FACTOR_BITS);
    }

    /// @notice How many intervals the product with that number covers.
    function lengthOf(uint64 product) internal pure returns (uint256) {
        return product & LENGTH_MASK;
    }

    /// @notice Place of a length among the four, quarter-hours first; `NO_PLACE` for any other.
    function placeOf(uint256 length) internal pure returns (uint256) {
        if (length == QUARTER_HOUR) return 0;
        if (length == HOUR) return 1;
        if (length == DAY) return 2;
        return length == WEEK ? 3 : NO_PLACE;
    }

    /// @notice Whether a product has that number: its length is one of the four, and it starts where they do.
    function isLegal(uint64 product) internal pure returns (bool) {
        uint256 place = placeOf(lengthOf(product));
        if (place == NO_PLACE) return false;
        int256 first = firstOf(product);
        return firstCovering(first, place) == first && (place != 3 || first >= FIRST_MONDAY);
    }

    /// @notice Length at one of the four places.
    function lengthAt(uint256 place) internal pure returns (uint256) {
        if (place == 0) return QUARTER_HOUR;
        if (place == 1) return HOUR;
        return place == 2 ? DAY : WEEK;
    }

    /// @notice Intervals between the one in which a gate closes and delivery. `gateLeads`: 16 bits a place, lowest first.
    function leadAt(uint256 place, uint64 gateLeads) internal pure returns (int256) {
        return int256((uint256(gateLeads) >> (LEAD_BITS * place)) & type(uint16).max);
    }

    /// @notice Interval in which the gate of a product closes: its header carries the closing round. `isProduct` is
    /// false where the length is no product's; then there is no gate either.
    function closingInterval(uint64 product, uint64 gateLeads) internal pure returns (bool isProduct, int256 interval) {
        uint256 place = placeOf(lengthOf(product));
        if (place == NO_PLACE) return (false, 0);
        return (true, firstOf(product) - leadAt(place, gateLeads));
    }

    /// @notice Whether the gate of a product has closed in the header of `interval`, or was never open.
    function isClosed(uint64 product, uint64 gateLeads, uint64 interval) internal pure returns (bool) {
        (bool isProduct, int256 closing) = closingInterval(product, gateLeads);
        return !isProduct || closing <= int256(uint256(interval));
    }

    /// @notice First interval of the product at `place` that delivers in the interval `settled`; below zero before the
    /// first one.
    function firstCovering(int256 settled, uint256 place) internal pure returns (int256) {
        int256 length = int256(lengthAt(place));
        int256 since = place == 3 ? settled - FIRST_MONDAY : settled;
        // Rounded down, also below zero, where the remainder of a division is not above it.
        return settled - ((since % length) + length) % length;
    }

    /// @notice Number of the product that starts in `first` at `place`.
    /// @dev `first` is not below zero and follows from a posted interval, so that its number fits.
    function numberOf(int256 first, uint256 place) internal pure returns (uint64) {
        return uint64((uint256(first) << FACTOR_BITS) + lengthAt(place));
    }

    /// @notice Intervals of a product that are not settled yet when `settled` is the last settled one. None where the
    /// length is no product's.
    function intervalsLeft(uint64 product, int256 settled) internal pure returns (uint256) {
        uint256 length = lengthOf(product);
        if (placeOf(length) == NO_PLACE) return 0;
        int256 gone = settled + 1 - firstOf(product);
        if (gone <= 0) return length;
        return uint256(gone) < length ? length - uint256(gone) : 0;
    }
}
