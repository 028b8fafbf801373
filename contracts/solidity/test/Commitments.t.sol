// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Commitments} from "../src/libraries/Commitments.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Products} from "../src/libraries/Products.sol";
import {Lists} from "./Lists.sol";

contract CommitmentsTest {
    uint64 private constant HOUR = 100 * 1024 + 4;

    function hash(Commitments.Commitment[] calldata list) external pure returns (bytes32) {
        return Commitments.hash(list);
    }

    function entryOf(Commitments.Commitment[] calldata list, uint64 product)
        external
        pure
        returns (Commitments.Owed memory)
    {
        return Commitments.entryOf(list, product);
    }

    function reserveFault(uint128 reservedNano, Commitments.Commitment[] calldata list, int256 settled)
        external
        pure
        returns (Commitments.ReserveFault)
    {
        return Commitments.reserveFault(reservedNano, list, settled);
    }

    /// @dev Hours one after the other, from interval 400 on, each owing 7 for its bid and 10 for each interval.
    function hours_(uint256 count) private pure returns (Commitments.Commitment[] memory list) {
        list = new Commitments.Commitment[](count);
        for (uint256 i = 0; i < count; i++) {
            list[i] = Commitments.Commitment(uint64((400 + 4 * i) * 1024 + 4), 7, 10);
        }
    }

    function isOwed(Commitments.Owed memory owed, uint256 bidNano, uint256 intervalNano) private pure returns (bool) {
        return owed.bidNano == bidNano && owed.intervalNano == intervalNano;
    }

    function opened(Commitments.Opening calldata opening, bytes32 committed, uint64 product)
        external
        pure
        returns (bool, Commitments.Owed memory)
    {
        return Commitments.opened(opening, committed, product);
    }

    function testFuzz_a_list_is_hashed_by_chunks_as_its_fields_lie_one_behind_the_other(uint8 count, uint256 seed)
        public
        view
    {
        Commitments.Commitment[] memory list = new Commitments.Commitment[](count % 70);
        for (uint256 i = 0; i < list.length; i++) {
            bytes32 random = keccak256(abi.encode(seed, i));
            list[i] = Commitments.Commitment(
                uint64(uint256(random)), uint128(uint256(random) >> 64), uint128(uint256(random) >> 128)
            );
        }
        require(this.hash(list) == Lists.hashOf(list), "another hash");
    }

    function test_a_field_beyond_its_width_is_no_evidence() public view {
        bytes32 chunk = keccak256(abi.encodePacked(HOUR, uint128(7), uint128(10)));
        for (uint256 field = 0; field < 3; field++) {
            uint256[3] memory words = [uint256(HOUR), 7, 10];
            words[field] |= 1 << 200;
            bytes memory list = abi.encode(uint256(0x20), uint256(1), words);
            (bool done, bytes memory answer) = address(this).staticcall(abi.encodePacked(this.hash.selector, list));
            require(done == (field != 0), "hashed or not");
            if (done) require(bytes32(answer) == keccak256(abi.encodePacked(HOUR, chunk)), "cut off");
            list = abi.encode(uint256(0x40), HOUR, uint256(1), words);
            (done, answer) = address(this).staticcall(abi.encodePacked(this.entryOf.selector, list));
            // What is hashed as an entry of a product is found as that, or refused: never denied.
            require(done == (field == 0), "read or not");
            if (done) require(isOwed(abi.decode(answer, (Commitments.Owed)), 7, 10), "denied");
        }
    }

    /// @dev What is shown, by every chunk that anybody may claim to be the one.
    function testFuzz_one_chunk_alone_shows_a_product_or_its_absence(uint8 count, uint32 product) public view {
        Commitments.Commitment[] memory list = hours_(count % 65);
        uint64 sought = product % 4 == 0 ? uint64(product) : uint64(400 + (product % 270)) * 1024 + 4;
        uint256 shown = 0;
        for (uint256 chunk = 0; chunk < 10; chunk++) {
            Commitments.Opening memory opening =
                Commitments.Opening(Lists.headsOf(list), chunk, Lists.chunkOf(list, chunk));
            (bool isShown, Commitments.Owed memory owed) = this.opened(opening, Lists.hashOf(list), sought);
            if (!isShown) continue;
            shown++;
            bool isListed = sought % 1024 == 4 && sought / 1024 >= 400 && (sought / 1024) % 4 == 0
                && sought / 1024 < 400 + 4 * list.length;
            require(isOwed(owed, isListed ? 7 : 0, isListed ? 10 : 0), "another entry");
        }
        require(shown == 1, "shown by none or by two");
    }

    function testFuzz_an_altered_opening_shows_nothing(uint8 count, uint256 seed) public view {
        Commitments.Commitment[] memory list = hours_(count % 65);
        uint64 sought = uint64(400 + seed % 270) * 1024 + 4;
        bytes32 committed = Lists.hashOf(list);
        Commitments.Opening memory opening = Lists.openingOf(list, sought);
        if (list.length == 0) {
            (bool isNothing,) = this.opened(opening, bytes32(uint256(1)), sought);
            require(!isNothing, "nothing instead of something");
            opening.entries = hours_(1);
        } else if (seed % 5 == 0) {
            opening.heads[(seed >> 8) % opening.heads.length] ^= 0x01;
        } else if (seed % 5 == 1) {
            opening.entries[(seed >> 8) % opening.entries.length].bidNano += 1;
        } else if (seed % 5 == 2) {
            opening.entries = hours_(opening.entries.length + 1);
        } else if (seed % 5 == 3) {
            opening.heads = abi.encodePacked(opening.heads, uint8(0));
            committed = keccak256(opening.heads);
        } else {
            opening = Commitments.Opening("", 0, new Commitments.Commitment[](0));
        }
        (bool isShown,) = this.opened(opening, committed, sought);
        require(!isShown, "shown all the same");
    }

    function testFuzz_an_entry_is_found_by_its_product(uint8 count, uint8 place) public view {
        Commitments.Commitment[] memory list = hours_(count % 65);
        for (uint256 i = 0; i < list.length; i++) {
            list[i].bidNano = uint128(i + 1);
        }
        if (list.length != 0) {
            uint256 chosen = place % list.length;
            require(isOwed(this.entryOf(list, list[chosen].product), chosen + 1, 10), "another entry");
        }
        require(isOwed(this.entryOf(list, 1), 0, 0), "an entry of nothing");
    }

    function test_a_reserve_is_the_sum_of_its_list() public view {
        // Interval 401 is settled: of the first hour two intervals are left, of the second all four.
        Commitments.Commitment[] memory list = hours_(2);
        require(this.reserveFault(7 + 20 + 7 + 40, list, 401) == Commitments.ReserveFault.None, "the sum");
        require(this.reserveFault(7 + 20 + 7 + 39, list, 401) == Commitments.ReserveFault.WrongSum, "one less");
        require(this.reserveFault(7 + 20 + 7 + 41, list, 401) == Commitments.ReserveFault.WrongSum, "one more");
        require(this.reserveFault(0, hours_(0), 401) == Commitments.ReserveFault.None, "nothing");
        require(this.reserveFault(1, hours_(0), 401) == Commitments.ReserveFault.WrongSum, "something of nothing");
        require(this.reserveFault(7 + 40, hours_(1), -4) == Commitments.ReserveFault.None, "before the first interval");
    }

    function test_a_list_is_short_and_sorted_and_every_entry_owes() public view {
        require(this.reserveFault(64 * 47, hours_(64), 0) == Commitments.ReserveFault.None, "64 products");
        require(this.reserveFault(65 * 47, hours_(65), 0) == Commitments.ReserveFault.TooMany, "65 products");
        Commitments.Commitment[] memory list = hours_(3);
        list[2].product = list[1].product;
        require(this.reserveFault(3 * 47, list, 0) == Commitments.ReserveFault.Unsorted, "twice");
        list[2].product = list[0].product - 1;
        require(this.reserveFault(3 * 47, list, 0) == Commitments.ReserveFault.Unsorted, "unsorted");
        list[0].bidNano = 0;
        list[0].intervalNano = 0;
        require(this.reserveFault(2 * 47, list, 0) == Commitments.ReserveFault.Unsorted, "idle and unsorted");
        list = hours_(3);
        require(this.reserveFault(2 * 47, list, 403) == Commitments.ReserveFault.Idle, "the first is settled");
        (list[2].bidNano, list[2].intervalNano) = (0, 0);
        require(this.reserveFault(2 * 47, list, 0) == Commitments.ReserveFault.Idle, "the last owes nothing");
        list[2].product += 1;
        list[2].intervalNano = 10;
        require(this.reserveFault(3 * 47, list, 0) == Commitments.ReserveFault.Idle, "no product is of five intervals");
    }

    function test_no_list_is_too_large_to_be_summed() public view {
        Commitments.Commitment[] memory list = new Commitments.Commitment[](64);
        for (uint256 i = 0; i < 64; i++) {
            list[i] = Commitments.Commitment(uint64((672 * i + 384) * 1024 + 672), type(uint128).max, type(uint128).max);
        }
        require(
            this.reserveFault(type(uint128).max, list, -1) == Commitments.ReserveFault.WrongSum, "it is not the sum"
        );
    }

    function testFuzz_a_slot_leaves_its_bid_and_its_position(
        Messages.Slot memory slot,
        int64 tariffImport,
        bool isClosed,
        uint8 seed
    ) public pure {
        slot.side = seed & 1;
        slot.product = uint64(400 * 1024 + Products.lengthAt(seed / 2 % 4));
        int256 length = int256(Products.lengthOf(slot.product));
        Commitments.Owed memory owed = Commitments.ofSlot(true, slot, slot.product, isClosed, tariffImport, 399);
        int256 openWh = int256(uint256(slot.quantityWh)) - int256(uint256(slot.filledBeforeWh));
        openWh -= int256(uint256(slot.fillWh));
        int256 bid = slot.side == 0
            ? int256(slot.limitPrice) * openWh * length
            : (int256(tariffImport) - int256(slot.limitPrice)) * openWh * length;
        int256 position = slot.positionCostNano;
        if (slot.positionWh < 0) position += int256(tariffImport) * -int256(slot.positionWh);
        require(owed.bidNano == (isClosed || bid < 0 ? 0 : uint256(bid)), "the bid");
        require(owed.intervalNano == (position < 0 ? 0 : uint256(position)), "the position");
        require(Commitments.isSame(owed, owed), "not itself");
    }

    function test_worst_costs_by_hand() public pure {
        // A buyer of 500 Wh at 300, a seller of 500 Wh at 80 where energy costs 300, a seller at more than the tariff.
        require(Commitments.bidReserveNano(0, 500, 300, 4, 310) == 600_000, "buyer");
        require(Commitments.bidReserveNano(1, 500, 80, 4, 300) == 440_000, "seller");
        require(Commitments.bidReserveNano(1, 500, 400, 4, 300) == 0, "nothing is at risk");
        require(Commitments.bidReserveNano(0, 500, -10, 4, 300) == 0, "paid for taking");
        require(Commitments.positionReserveNano(100, 9_000, 300) == 9_000, "bought");
        require(Commitments.positionReserveNano(-100, -9_000, 300) == 21_000, "sold");
        require(Commitments.positionReserveNano(-100, -40_000, 300) == 0, "sold well");
        require(Commitments.positionReserveNano(-100, 500, -300) == 0, "energy is worth less than nothing");
    }

    function test_nothing_is_left_without_a_slot_or_once_all_is_settled() public pure {
        Messages.Slot memory slot;
        (slot.product, slot.quantityWh, slot.limitPrice, slot.positionCostNano) = (HOUR, 10, 10, 50);
        require(isOwed(Commitments.ofSlot(true, slot, HOUR, false, 300, 102), 400, 50), "one interval is left");
        require(isOwed(Commitments.ofSlot(true, slot, HOUR, false, 300, 103), 0, 0), "none is left");
        require(isOwed(Commitments.ofSlot(false, slot, HOUR, false, 300, 0), 0, 0), "no slot");
        require(isOwed(Commitments.ofSlot(true, slot, HOUR + 1, false, 300, 0), 0, 0), "no product");
    }

    function testFuzz_a_commitment_is_carried_until_it_is_settled(uint128 bidNano, uint128 intervalNano) public pure {
        Commitments.Owed memory before = Commitments.Owed(bidNano, intervalNano);
        require(isOwed(Commitments.carried(before, HOUR, false, 99), bidNano, intervalNano), "carried");
        require(isOwed(Commitments.carried(before, HOUR, true, 102), 0, intervalNano), "closed");
        require(isOwed(Commitments.carried(before, HOUR, true, 103), 0, 0), "settled");
        require(isOwed(Commitments.carried(before, HOUR - 4, false, 0), 0, 0), "a product without a length");
    }

    function test_no_claim_is_too_large_to_be_judged() public pure {
        Messages.Slot memory slot;
        uint64 week = 384 * 1024 + 672;
        (slot.side, slot.limitPrice, slot.positionWh) = (1, type(int64).min, type(int64).min);
        (slot.quantityWh, slot.positionCostNano) = (type(uint64).max, type(int128).max);
        Commitments.Owed memory owed = Commitments.ofSlot(true, slot, week, false, type(int64).max, 0);
        // More than a list can hold: whatever it holds instead differs.
        require(owed.bidNano > type(uint128).max, "no more than a uint128");
        require(!Commitments.isSame(owed, Commitments.Owed(type(uint128).max, owed.intervalNano)), "cut off");
        require(!Commitments.isSame(owed, Commitments.Owed(owed.bidNano, 0)), "without the position");
        (slot.quantityWh, slot.filledBeforeWh, slot.fillWh) = (0, type(uint64).max, type(uint64).max);
        Commitments.ofSlot(true, slot, week, false, type(int64).max, 0);
    }
}
