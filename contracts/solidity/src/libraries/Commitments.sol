// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingRules} from "./ClearingRules.sol";
import {Messages} from "./Messages.sol";
import {Products} from "./Products.sol";

/// @title What an account may still owe, product by product: the reserve, as a public function of its own slots.
/// @notice A buyer owes his limit; a seller who does not deliver owes the import tariff less what he was to earn. A
/// balance leaf carries the sum and the hash of the list. contracts/commitments.py is the same in Python; the faults
/// stand in the same order, `None` first. What follows from a slot may exceed the uint128 of a list: it is kept in
/// uint256, so that a commitment that was cut off is refuted.
library Commitments {
    /// @notice What one product may still cost an account: its open bid over all intervals, its position per interval.
    struct Commitment {
        uint64 product;
        uint128 bidNano;
        uint128 intervalNano;
    }

    /// @notice The same as it follows from a slot, in full width.
    struct Owed {
        uint256 bidNano;
        uint256 intervalNano;
    }

    /// @notice What of a list shows one product, be it nothing: all heads, and the commitments of one chunk.
    struct Opening {
        bytes heads;
        uint256 chunk;
        Commitment[] entries;
    }

    /// @notice How a balance leaf's list of commitments refutes it, in the order in which it is looked for.
    enum ReserveFault {
        None,
        TooMany,
        Unsorted,
        Idle,
        WrongSum
    }

    /// @notice How a commitment of the list contradicts what it follows from.
    enum CommitmentFault {
        None,
        NotTheSlots,
        NotCarried
    }

    /// @notice Open products of one account; more would be dear to refute.
    uint256 internal constant LIMIT = 64;

    /// @notice Commitments under one head.
    uint256 internal constant CHUNK_LENGTH = 8;

    /// @dev Bytes of a commitment in the hashed list: 8, 16 and 16.
    uint256 private constant PACKED_BYTES = 40;

    /// @dev Bytes of a head: 8 of the product, 32 of the hash.
    uint256 private constant HEAD_BYTES = 40;

    /// @notice What a balance leaf carries for the list: the hash of its heads, which are of each chunk the first
    /// product and the hash; zero for the empty list.
    function hash(Commitment[] calldata list) internal pure returns (bytes32) {
        if (list.length == 0) return bytes32(0);
        bytes memory heads = "";
        for (uint256 from = 0; from < list.length; from += CHUNK_LENGTH) {
            uint256 to = from + CHUNK_LENGTH < list.length ? from + CHUNK_LENGTH : list.length;
            heads = bytes.concat(heads, bytes8(list[from].product), _chunkHash(list[from:to]));
        }
        return keccak256(heads);
    }

    /// @notice What the list behind `committed` holds for a product, and whether `opening` shows it: the heads are those
    /// of the list, and the chunk is the one in which the product would stand.
    function opened(Opening calldata opening, bytes32 committed, uint64 product)
        internal
        pure
        returns (bool isShown, Owed memory owed)
    {
        uint256 count = opening.heads.length / HEAD_BYTES;
        uint256 chunk = opening.chunk;
        if (count == 0) {
            return (committed == bytes32(0) && opening.heads.length + opening.entries.length + chunk == 0, owed);
        }
        isShown = opening.heads.length % HEAD_BYTES == 0 && keccak256(opening.heads) == committed && chunk < count
            && (chunk == 0 || _firstOf(opening.heads, chunk) <= product)
            && (chunk + 1 == count || product < _firstOf(opening.heads, chunk + 1))
            && _chunkHash(opening.entries) == bytes32(opening.heads[chunk * HEAD_BYTES + 8:(chunk + 1) * HEAD_BYTES]);
        if (isShown) owed = entryOf(opening.entries, product);
    }

    /// @notice What the list holds for a product; nothing owed where it has no such entry, the first one where it has
    /// two (`reserveFault` refutes such a list).
    /// @dev By hand as `_chunkHash`, with the same bits of the product. Amounts beyond their width revert.
    function entryOf(Commitment[] calldata list, uint64 product) internal pure returns (Owed memory owed) {
        uint256 place;
        uint256 wanted = uint256(product) << 192;
        assembly ("memory-safe") {
            let from := list.offset
            for {} lt(place, list.length) { place := add(place, 1) } {
                if eq(shl(192, calldataload(from)), wanted) { break }
                from := add(from, 0x60)
            }
        }
        if (place < list.length) return Owed(list[place].bidNano, list[place].intervalNano);
    }

    /// @notice Worst cost of an open bid over the `intervals` of its product.
    function bidReserveNano(uint8 side, int256 openWh, int64 limitPrice, uint256 intervals, int64 tariffImport)
        internal
        pure
        returns (uint256)
    {
        int256 worstPrice = side == ClearingRules.BUY ? int256(limitPrice) : int256(tariffImport) - limitPrice;
        return _positive(worstPrice * openWh) * intervals;
    }

    /// @notice Worst cost of a position for each of its intervals.
    function positionReserveNano(int64 positionWh, int128 costNano, int64 tariffImport)
        internal
        pure
        returns (uint256)
    {
        int256 soldWh = positionWh < 0 ? -int256(positionWh) : int256(0);
        return _positive(costNano + int256(tariffImport) * soldWh);
    }

    /// @notice What the slot of a product's last round leaves open; nothing without a slot, or once all is settled.
    /// @param isClosed the gate of the product has closed, no bid rests any more
    function ofSlot(
        bool hasSlot,
        Messages.Slot memory slot,
        uint64 product,
        bool isClosed,
        int64 tariffImport,
        int256 settled
    ) internal pure returns (Owed memory owed) {
        if (!hasSlot || Products.intervalsLeft(product, settled) == 0) return owed;
        if (!isClosed) {
            int256 openWh =
                int256(uint256(slot.quantityWh)) - int256(uint256(slot.filledBeforeWh)) - int256(uint256(slot.fillWh));
            owed.bidNano = bidReserveNano(slot.side, openWh, slot.limitPrice, Products.lengthOf(product), tariffImport);
        }
        owed.intervalNano = positionReserveNano(slot.positionWh, slot.positionCostNano, tariffImport);
    }

    /// @notice The commitment of a product without a round in a header, from the header before.
    function carried(Owed memory before, uint64 product, bool isClosed, int256 settled)
        internal
        pure
        returns (Owed memory owed)
    {
        if (Products.intervalsLeft(product, settled) == 0) return owed;
        return Owed(isClosed ? 0 : before.bidNano, before.intervalNano);
    }

    /// @notice Whether a list's entry is what is owed.
    function isSame(Owed memory entry, Owed memory expected) internal pure returns (bool) {
        return entry.bidNano == expected.bidNano && entry.intervalNano == expected.intervalNano;
    }

    /// @notice What is wrong with `reservedNano` under its opened list.
    function reserveFault(uint128 reservedNano, Commitment[] calldata list, int256 settled)
        internal
        pure
        returns (ReserveFault)
    {
        if (list.length > LIMIT) return ReserveFault.TooMany;
        bool isIdle = false;
        uint256 before = 0;
        uint256 sumNano = 0;
        for (uint256 i = 0; i < list.length; i++) {
            Commitment memory entry = list[i];
            if (i != 0 && entry.product <= before) return ReserveFault.Unsorted;
            before = entry.product;
            uint256 left = Products.intervalsLeft(entry.product, settled);
            if (left == 0 || (entry.bidNano == 0 && entry.intervalNano == 0)) isIdle = true;
            sumNano += entry.bidNano + entry.intervalNano * left;
        }
        if (isIdle) return ReserveFault.Idle;
        return sumNano == reservedNano ? ReserveFault.None : ReserveFault.WrongSum;
    }

    /// @dev keccak256 over the packed commitments, as abi.encodePacked of each would lay them one behind the other; by
    /// hand, because the library's way would be much of a challenge's gas. Bits beyond a field's width are cut off here
    /// and in `entryOf` alike: an entry must never be hashed as one product and sought as another.
    function _chunkHash(Commitment[] calldata chunk) private pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            let start := mload(0x40) // beyond the free memory, not kept
            let at := start
            let end := add(chunk.offset, mul(chunk.length, 0x60))
            for { let from := chunk.offset } lt(from, end) { from := add(from, 0x60) } {
                // Each word begins with its field; the next field covers the rest.
                mstore(at, shl(192, calldataload(from)))
                mstore(add(at, 8), shl(128, calldataload(add(from, 0x20))))
                mstore(add(at, 24), shl(128, calldataload(add(from, 0x40))))
                at := add(at, PACKED_BYTES)
            }
            digest := keccak256(start, sub(at, start))
        }
    }

    function _firstOf(bytes calldata heads, uint256 chunk) private pure returns (uint64) {
        return uint64(bytes8(heads[chunk * HEAD_BYTES:chunk * HEAD_BYTES + 8]));
    }

    function _positive(int256 nano) private pure returns (uint256) {
        return nano > 0 ? uint256(nano) : 0;
    }
}
