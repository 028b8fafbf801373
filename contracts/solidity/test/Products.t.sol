// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Products} from "../src/libraries/Products.sol";

contract ProductsTest {
    uint256 private constant MANY = 1 << 40;
    int256 private constant FIRST_MONDAY = 384;

    function numberOf(uint256 first, uint256 length) private pure returns (uint64) {
        return uint64(first * 1024 + length);
    }

    function test_four_lengths_have_a_place_and_no_other() public pure {
        uint256 found = 0;
        for (uint256 length = 0; length < 1024; length++) {
            uint256 place = Products.placeOf(length);
            if (place == Products.NO_PLACE) continue;
            require(Products.lengthAt(place) == length, "place and length disagree");
            require(place == found, "places are not in order of length");
            found += 1;
        }
        require(found == 4, "not four lengths");
        require(Products.placeOf(1) == 0 && Products.placeOf(4) == 1, "short places");
        require(Products.placeOf(96) == 2 && Products.placeOf(672) == 3, "long places");
    }

    function testFuzz_a_number_is_its_first_interval_and_length(uint64 seed, uint16 length) public pure {
        uint256 first = seed % MANY;
        length %= 1024;
        uint64 product = numberOf(first, length);
        require(Products.firstOf(product) == int256(first), "first interval");
        require(Products.lengthOf(product) == length, "length");
    }

    function testFuzz_the_covering_product_is_the_next_start_going_back(uint32 interval, uint8 seed) public pure {
        uint256 place = seed % 4;
        int256 length = int256(Products.lengthAt(place));
        int256 settled = int256(uint256(interval)) - 1000;
        int256 start = settled;
        while ((place == 3 ? start - FIRST_MONDAY : start) % length != 0) start -= 1;
        int256 first = Products.firstCovering(settled, place);
        require(first == start, "another start");
        require(first <= settled && settled < first + length, "the interval is not covered");
        if (first >= 0) {
            uint64 product = Products.numberOf(first, place);
            require(Products.firstOf(product) == first, "first of the number");
            require(Products.lengthOf(product) == uint256(length), "length of the number");
        }
    }

    function testFuzz_what_is_left_are_the_intervals_after_the_settled_one(uint16 first, uint8 seed, int16 settled)
        public
        pure
    {
        uint256 length = Products.lengthAt(seed % 4);
        uint256 left = 0;
        for (uint256 interval = first; interval < uint256(first) + length; interval++) {
            if (int256(interval) > settled) left += 1;
        }
        require(Products.intervalsLeft(numberOf(first, length), settled) == left, "another number is left");
    }

    function testFuzz_a_length_of_no_product_is_settled_and_closed(uint64 product, uint64 leads, uint64 interval)
        public
        pure
    {
        if (Products.placeOf(Products.lengthOf(product)) != Products.NO_PLACE) product = product / 1024 * 1024;
        require(Products.intervalsLeft(product, -1) == 0, "something is left");
        require(Products.isClosed(product, leads, interval), "its gate is open");
        (bool isProduct,) = Products.closingInterval(product, leads);
        require(!isProduct, "it has a closing interval");
    }

    function testFuzz_a_product_starts_where_those_of_its_length_do(uint16 first, uint16 length) public pure {
        if (length % 2 == 0) length = uint16(Products.lengthAt(length / 2 % 4));
        length %= 1024;
        bool isLegal = length == 1 || length == 4 || length == 96;
        if (isLegal) isLegal = first % length == 0;
        if (length == 672) isLegal = first >= 384 && (first - 384) % 672 == 0;
        require(Products.isLegal(numberOf(first, length)) == isLegal, "legal or not");
    }

    function test_weeks_begin_on_the_first_monday() public pure {
        require(Products.isLegal(numberOf(384, 672)) && Products.isLegal(numberOf(384 + 672, 672)), "two weeks");
        require(!Products.isLegal(numberOf(0, 672)) && !Products.isLegal(numberOf(672, 672)), "no Mondays");
        require(!Products.isLegal(0) && Products.isLegal(1) && !Products.isLegal(2), "lengths");
        require(Products.isLegal(numberOf(4, 4)) && !Products.isLegal(numberOf(5, 4)), "hours");
    }

    function testFuzz_a_gate_closes_its_lead_before_delivery(uint32 first, uint8 seed, uint64 leads) public pure {
        uint256 place = seed % 4;
        uint64 product = numberOf(first, Products.lengthAt(place));
        uint16[4] memory byPlace = [uint16(leads), uint16(leads >> 16), uint16(leads >> 32), uint16(leads >> 48)];
        (bool isProduct, int256 closing) = Products.closingInterval(product, leads);
        require(isProduct, "no product");
        require(closing == int256(uint256(first)) - int256(uint256(byPlace[place])), "another lead");
        if (closing <= 0) {
            require(Products.isClosed(product, leads, 0), "open before it was");
            return;
        }
        require(Products.isClosed(product, leads, uint64(uint256(closing))), "open in its closing header");
        require(!Products.isClosed(product, leads, uint64(uint256(closing)) - 1), "closed before");
    }

    function testFuzz_no_number_is_too_strange_to_be_judged(uint64 product, uint64 leads, uint64 interval, uint64 grace)
        public
        pure
    {
        int256 settled = int256(uint256(interval)) - int256(uint256(grace));
        require(Products.intervalsLeft(product, settled) <= Products.lengthOf(product), "more is left than there was");
        Products.isClosed(product, leads, interval);
        for (uint256 place = 0; place < 4; place++) {
            require(Products.firstCovering(settled, place) <= settled, "a start after the interval");
        }
    }
}
