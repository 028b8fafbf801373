// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingRules} from "../src/libraries/ClearingRules.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {RoundRules} from "../src/libraries/RoundRules.sol";

contract RoundRulesTest {
    uint32 private constant FORCED = 1 << 31;
    int64 private constant PRICE = -120;

    /// @dev A slot of account 3 with 900 Wh, of which 100 were filled before and 200 now, at a price below zero.
    function slotOf(uint32 version) private pure returns (Messages.Slot memory slot) {
        slot.account = 3;
        slot.product = 5 * 1024 + 4;
        slot.version = version;
        slot.side = 1;
        slot.quantityWh = 900;
        slot.limitPrice = -500;
        slot.expiryS = 10_000;
        slot.filledBeforeWh = 100;
        slot.fillWh = 200;
        slot.positionWh = -300;
        slot.positionCostNano = 36_000;
        slot.signatureHash = keccak256("signature");
    }

    /// @dev The same bid one round later, with another 50 Wh filled.
    function afterwards(Messages.Slot memory before) private pure returns (Messages.Slot memory slot) {
        slot = abi.decode(abi.encode(before), (Messages.Slot));
        slot.filledBeforeWh += before.fillWh;
        slot.fillWh = 50;
        slot.positionWh -= 50;
        slot.positionCostNano += 50 * 120;
    }

    function retiredOf(uint32 version) private pure returns (Messages.Slot memory slot) {
        slot.account = 3;
        slot.product = 5 * 1024 + 4;
        slot.version = version;
        slot.positionWh = -300;
        slot.positionCostNano = 36_000;
    }

    function none() private pure returns (Messages.Slot memory slot) {}

    function carry(Messages.Slot memory slot, Messages.Slot memory before)
        private
        pure
        returns (RoundRules.CarryFault)
    {
        return RoundRules.carryFault(true, slot, true, before, PRICE, false);
    }

    function auctionOf(uint64 product, uint32 round) private pure returns (Messages.Auction memory auction) {
        auction.product = product;
        auction.round = round;
        auction.clearedAtS = 1_000 + uint64(round);
    }

    function testFuzz_forward_auctions_stand_by_product_and_round(
        uint64 one,
        uint64 two,
        uint32 first,
        uint32 second,
        uint8 mode
    ) public pure {
        if (mode % 3 == 0) two = one;
        if (mode % 2 == 0) second = first;
        Messages.Auction memory before = auctionOf(one, first % 1e6);
        Messages.Auction memory behind = auctionOf(two, second % 1e6);
        bool isOrdered = (uint256(one) << 32) + first % 1e6 < (uint256(two) << 32) + second % 1e6;
        RoundRules.OrderFault expected = isOrdered ? RoundRules.OrderFault.None : RoundRules.OrderFault.Unsorted;
        require(RoundRules.orderFault(1, true, before, true, behind) == expected, "order is judged otherwise");
    }

    function test_nothing_stands_behind_an_empty_leaf() public pure {
        Messages.Auction memory auction = auctionOf(9, 1);
        for (uint256 index = 0; index < 2; index++) {
            require(RoundRules.orderFault(index, false, auction, true, auction) == RoundRules.OrderFault.Gap, "no gap");
            require(
                RoundRules.orderFault(index, false, auction, false, auction) == RoundRules.OrderFault.None, "two empty"
            );
            require(
                RoundRules.orderFault(index, true, auction, false, auction) == RoundRules.OrderFault.None, "the end"
            );
        }
    }

    function test_the_spot_round_stands_outside_the_order() public pure {
        Messages.Auction memory late = auctionOf(9, 0xFFFF);
        Messages.Auction memory early = auctionOf(1, 0);
        require(RoundRules.orderFault(0, true, late, true, early) == RoundRules.OrderFault.None, "leaf 0 is ordered");
        require(RoundRules.orderFault(1, true, late, true, early) == RoundRules.OrderFault.Unsorted, "leaf 1 is not");
    }

    function test_a_round_comes_after_a_forward_round_of_its_product() public pure {
        Messages.Auction memory before = auctionOf(9, 4);
        Messages.Auction memory auction = auctionOf(9, 5);
        require(RoundRules.roundFault(auction, before) == RoundRules.RoundFault.None, "the next round");
        before.rule = 1;
        require(RoundRules.roundFault(auction, before) == RoundRules.RoundFault.AnotherProduct, "a spot round before");
        before.rule = ClearingRules.FORWARD;
        before.product = 8;
        require(RoundRules.roundFault(auction, before) == RoundRules.RoundFault.AnotherProduct, "another product");
        before.product = 9;
        before.round = 5;
        require(RoundRules.roundFault(auction, before) == RoundRules.RoundFault.NotLater, "the same round");
        before.round = 4;
        before.clearedAtS = auction.clearedAtS;
        require(RoundRules.roundFault(auction, before) == RoundRules.RoundFault.NotLater, "the same instant");
    }

    function test_rounds_clear_until_the_gate_of_a_product() public pure {
        // An hour from interval 100 on, whose gate closes two intervals before.
        uint64 leads = (1 << 48) | (1 << 32) | (2 << 16) | 1;
        RoundRules.RoundFault late = RoundRules.RoundFault.AfterGate;
        require(RoundRules.gateFault(100 * 1024 + 4, leads, 98) == RoundRules.RoundFault.None, "the closing round");
        require(RoundRules.gateFault(100 * 1024 + 4, leads, 0) == RoundRules.RoundFault.None, "early");
        require(RoundRules.gateFault(100 * 1024 + 4, leads, 99) == late, "after the gate");
        require(RoundRules.gateFault(1, leads, 0) == late, "a gate before the first interval");
        RoundRules.RoundFault none_ = RoundRules.RoundFault.NoProduct;
        require(RoundRules.gateFault(101 * 1024 + 4, leads, 0) == none_, "no hour starts there");
        require(RoundRules.gateFault(100 * 1024 + 5, leads, 0) == none_, "no product is of five intervals");
    }

    function test_two_forward_rounds_of_a_product_after_the_same_one_are_a_fork() public pure {
        Messages.Auction memory one = auctionOf(9, 4);
        Messages.Auction memory other = auctionOf(9, 5);
        require(RoundRules.forkFault(one, other) == RoundRules.ForkFault.SamePlace, "two first rounds");
        other.product = 8;
        require(RoundRules.forkFault(one, other) == RoundRules.ForkFault.None, "two products");
        other.product = 9;
        other.previous = bytes32(uint256(1));
        require(RoundRules.forkFault(one, other) == RoundRules.ForkFault.None, "one after the other");
        other.previous = bytes32(0);
        other.rule = 2;
        require(RoundRules.forkFault(one, other) == RoundRules.ForkFault.None, "a spot round is in no chain");
        require(RoundRules.forkFault(other, one) == RoundRules.ForkFault.None, "in neither order");
    }

    function test_a_slot_follows_from_the_one_before() public pure {
        Messages.Slot memory before = slotOf(7);
        require(carry(afterwards(before), before) == RoundRules.CarryFault.None, "the honest next slot");
        require(
            RoundRules.carryFault(false, none(), false, none(), PRICE, false) == RoundRules.CarryFault.None, "no slot"
        );
        require(
            RoundRules.carryFault(false, none(), true, before, PRICE, false) == RoundRules.CarryFault.Dropped, "dropped"
        );
    }

    function testFuzz_a_position_moves_by_the_fill_at_the_price(
        int64 heldWh,
        int128 heldNano,
        uint64 fillWh,
        int64 price,
        uint8 side
    ) public pure {
        Messages.Slot memory before = slotOf(7);
        (before.positionWh, before.positionCostNano) = (heldWh, heldNano);
        Messages.Slot memory slot = slotOf(8);
        (slot.fillWh, slot.side, slot.filledBeforeWh) = (fillWh, side, 0);
        int256 signedWh = side == 0 ? int256(uint256(fillWh)) : -int256(uint256(fillWh));
        int256 movedWh = heldWh + signedWh;
        int256 movedNano = heldNano + signedWh * price;
        slot.positionWh = int64(movedWh);
        slot.positionCostNano = int128(movedNano);
        bool fits = movedWh == slot.positionWh && movedNano == slot.positionCostNano;
        RoundRules.CarryFault expected = fits ? RoundRules.CarryFault.None : RoundRules.CarryFault.WrongPosition;
        require(RoundRules.carryFault(true, slot, true, before, price, false) == expected, "moved otherwise");
        unchecked {
            slot.positionWh += 1;
        }
        expected = RoundRules.CarryFault.WrongPosition;
        require(RoundRules.carryFault(true, slot, true, before, price, false) == expected, "one Wh more");
        unchecked {
            slot.positionWh -= 1;
            slot.positionCostNano -= 1;
        }
        require(RoundRules.carryFault(true, slot, true, before, price, false) == expected, "one nano less");
    }

    function test_a_first_slot_holds_what_it_was_filled() public pure {
        Messages.Slot memory slot = slotOf(1);
        (slot.filledBeforeWh, slot.positionWh, slot.positionCostNano) = (0, -200, 24_000);
        require(
            RoundRules.carryFault(true, slot, false, none(), PRICE, false) == RoundRules.CarryFault.None, "first slot"
        );
        slot.filledBeforeWh = 1;
        require(
            RoundRules.carryFault(true, slot, false, none(), PRICE, false) == RoundRules.CarryFault.WrongFilledBefore,
            "filled before the first"
        );
        slot.version = 0;
        require(
            RoundRules.carryFault(true, slot, false, none(), PRICE, false) == RoundRules.CarryFault.VersionBack,
            "a slot without a version"
        );
    }

    function test_a_version_never_goes_back() public pure {
        Messages.Slot memory before = slotOf(7);
        Messages.Slot memory slot = afterwards(before);
        slot.version = 6;
        require(carry(slot, before) == RoundRules.CarryFault.VersionBack, "back");
        slot.version = 8;
        require(carry(slot, before) == RoundRules.CarryFault.WrongFilledBefore, "a new bid was filled before");
        slot.filledBeforeWh = 0;
        require(carry(slot, before) == RoundRules.CarryFault.None, "a new bid");
    }

    function test_a_bid_stays_the_same_under_its_version() public pure {
        Messages.Slot memory before = slotOf(7);
        for (uint256 field = 0; field < 5; field++) {
            Messages.Slot memory slot = afterwards(before);
            if (field == 0) slot.side = 2;
            if (field == 1) slot.quantityWh += 1;
            if (field == 2) slot.limitPrice += 1;
            if (field == 3) slot.expiryS += 1;
            if (field == 4) slot.signatureHash = bytes32(0);
            require(carry(slot, before) == RoundRules.CarryFault.BidChanged, "changed");
        }
        Messages.Slot memory other = afterwards(before);
        other.filledBeforeWh -= 1;
        require(carry(other, before) == RoundRules.CarryFault.WrongFilledBefore, "filled before");
        // A sum that no uint64 holds cannot be claimed, and judging it does not revert.
        (before.filledBeforeWh, before.fillWh) = (type(uint64).max, type(uint64).max);
        require(carry(other, before) == RoundRules.CarryFault.WrongFilledBefore, "beyond a uint64");
    }

    function test_only_what_was_withdrawn_is_retired() public pure {
        Messages.Slot memory before = slotOf(FORCED | 2);
        Messages.Slot memory retired = retiredOf(FORCED | 2);
        require(RoundRules.isRetired(retired) && !RoundRules.isRetired(before), "retired");
        require(!RoundRules.isRetired(retiredOf(FORCED - 1)), "a signed bid of nothing is cancelled, not retired");
        require(carry(retired, before) == RoundRules.CarryFault.Retired, "it stands on chain");
        require(
            RoundRules.carryFault(true, retired, true, before, PRICE, true) == RoundRules.CarryFault.None, "withdrawn"
        );
        require(carry(retired, retired) == RoundRules.CarryFault.None, "stays retired");
        before.version = 7;
        require(carry(retired, before) == RoundRules.CarryFault.Retired, "newly retired, it stands on chain");
        require(
            RoundRules.carryFault(true, retired, true, before, PRICE, true) == RoundRules.CarryFault.None,
            "withdrawn before its first round"
        );
        Messages.Slot memory back = slotOf(FORCED | 2);
        (back.filledBeforeWh, back.fillWh) = (0, 0);
        require(carry(back, retired) == RoundRules.CarryFault.BidChanged, "come back");
    }

    function test_a_receipt_binds_its_product_from_its_round_on() public pure {
        Messages.Slot memory slot = slotOf(7);
        Messages.Auction memory auction = auctionOf(slot.product, 5);
        Messages.Receipt memory receipt =
            Messages.Receipt(3, slot.product, 7, RoundRules.bidHash(slot), 5, auction.clearedAtS);
        RoundRules.ReceiptFault kept = RoundRules.ReceiptFault.None;
        require(RoundRules.receiptFault(receipt, auction, true, slot) == kept, "kept");
        require(RoundRules.receiptFault(receipt, auction, false, none()) == RoundRules.ReceiptFault.Missing, "missing");
        receipt.version = 8;
        require(RoundRules.receiptFault(receipt, auction, true, slot) == RoundRules.ReceiptFault.Stale, "stale");
        receipt.version = 6;
        receipt.bidHash = bytes32(0);
        require(RoundRules.receiptFault(receipt, auction, true, slot) == kept, "a newer bid took its place");
        receipt.version = 7;
        require(RoundRules.receiptFault(receipt, auction, true, slot) == RoundRules.ReceiptFault.Altered, "altered");
        receipt.round = 6;
        require(RoundRules.receiptFault(receipt, auction, false, none()) == kept, "an earlier round");
        (receipt.round, receipt.clearsAtS) = (5, auction.clearedAtS + 1);
        require(RoundRules.receiptFault(receipt, auction, false, none()) == kept, "an earlier instant");
        (receipt.product, receipt.clearsAtS) = (0, 0);
        require(RoundRules.receiptFault(receipt, auction, false, none()) == kept, "another product");
        (receipt.product, auction.rule) = (slot.product, 2);
        require(RoundRules.receiptFault(receipt, auction, false, none()) == kept, "a spot round");
    }

    function testFuzz_an_order_on_chain_is_in_the_closing_round(uint32 order, uint32 slot, bool has) public pure {
        require(
            RoundRules.forcedFault(order, false, has, slot) == RoundRules.ForcedFault.RoundMissing, "no closing round"
        );
        RoundRules.ForcedFault expected =
            has && order <= slot ? RoundRules.ForcedFault.None : RoundRules.ForcedFault.Ignored;
        require(RoundRules.forcedFault(order, true, has, slot) == expected, "ignored or not");
    }

    function testFuzz_a_standing_order_is_valid_within_its_times(uint64 from, uint64 until, int32 settled) public pure {
        Messages.StandingOrder memory order;
        (order.validFromS, order.validUntilS) = (from % 1e13, until % 1e13);
        int256 startsAtS = int256(settled) * 900;
        bool begun = int256(uint256(order.validFromS)) <= startsAtS;
        bool over = order.validUntilS != 0 && int256(uint256(order.validUntilS)) <= startsAtS;
        require(RoundRules.isValid(order, settled) == (begun && !over), "validity");
    }

    function test_a_standing_order_ends_before_the_interval_in_whose_first_second_it_ends() public pure {
        Messages.StandingOrder memory order = Messages.StandingOrder(3, 1, 0, 0, 900, 1_800);
        require(!RoundRules.isValid(order, 0), "not yet");
        require(RoundRules.isValid(order, 1), "valid");
        require(!RoundRules.isValid(order, 2), "no more");
        order.validUntilS = 0;
        require(RoundRules.isValid(order, 2), "until replaced");
    }

    function test_a_deviation_stands_at_the_standing_limit() public pure {
        Messages.StandingOrder memory order = Messages.StandingOrder(3, 7, 400, -500, 900, 0);
        Messages.Header memory header;
        (header.tariffImport, header.tariffExport) = (300, 80);
        Messages.Slot memory slot = slotOf(7);
        RoundRules.StandingFault kept = RoundRules.StandingFault.None;
        RoundRules.StandingFault wrong = RoundRules.StandingFault.WrongLimit;
        require(RoundRules.standingFault(slot, true, order, true, header, 1) == kept, "seller");
        require(
            RoundRules.standingFault(slot, true, order, false, header, 1) == RoundRules.StandingFault.NotByKey,
            "unsigned"
        );
        require(
            RoundRules.standingFault(slot, true, order, true, header, 0) == RoundRules.StandingFault.NotValid, "early"
        );
        slot.side = 0;
        require(RoundRules.standingFault(slot, true, order, true, header, 1) == wrong, "a buyer at the seller's limit");
        slot.limitPrice = 400;
        require(RoundRules.standingFault(slot, true, order, true, header, 1) == kept, "buyer");
        slot.version = 8;
        require(RoundRules.standingFault(slot, true, order, true, header, 1) == wrong, "another version");
        (slot.version, slot.account) = (7, 4);
        require(RoundRules.standingFault(slot, true, order, true, header, 1) == wrong, "another account");
    }

    function test_a_home_without_a_standing_order_stands_at_the_tariff() public pure {
        Messages.StandingOrder memory order;
        Messages.Header memory header;
        (header.tariffImport, header.tariffExport) = (300, 80);
        Messages.Slot memory slot = slotOf(0);
        RoundRules.StandingFault without = RoundRules.StandingFault.WithoutOrder;
        slot.limitPrice = 80;
        require(
            RoundRules.standingFault(slot, false, order, false, header, 1) == RoundRules.StandingFault.None, "seller"
        );
        slot.side = 0;
        require(RoundRules.standingFault(slot, false, order, false, header, 1) == without, "buyer at the wrong tariff");
        slot.limitPrice = 300;
        require(
            RoundRules.standingFault(slot, false, order, false, header, 1) == RoundRules.StandingFault.None, "buyer"
        );
        slot.version = 1;
        require(RoundRules.standingFault(slot, false, order, false, header, 1) == without, "a version without an order");
    }

    function testFuzz_no_claim_of_a_slot_makes_its_judgement_revert(
        Messages.Slot memory slot,
        Messages.Slot memory before,
        int64 price,
        uint8 mode
    ) public pure {
        if (mode & 1 == 0) before.version = slot.version;
        if (mode & 2 == 0) (before.filledBeforeWh, before.fillWh) = (type(uint64).max, type(uint64).max);
        if (mode & 4 == 0) (slot.fillWh, price) = (type(uint64).max, type(int64).min);
        if (mode & 8 == 0) before.positionCostNano = mode & 16 == 0 ? type(int128).min : type(int128).max;
        RoundRules.carryFault(true, slot, mode & 32 == 0, before, price, mode & 64 == 0);
    }
}
