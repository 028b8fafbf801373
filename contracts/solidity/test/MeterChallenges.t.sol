// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {MeterChallenges} from "../src/challenges/MeterChallenges.sol";
import {AuctionProof, BalanceProof, MeterProof, SlotProof} from "../src/challenges/Proofs.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {HeaderRules} from "../src/libraries/HeaderRules.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {MeterRules} from "../src/libraries/MeterRules.sol";
import {Products} from "../src/libraries/Products.sol";
import {MeterCast} from "./MeterCast.sol";

/// @dev Gates close one interval before a quarter-hour, two before an hour, one before days and weeks; four intervals
/// of grace. So the header of FIRST + 6 settles FIRST + 2, whose quarter-hour closed in the header of FIRST + 1.
contract MeterChallengesTest is MeterCast {
    // Readings.

    function read(
        ISettlement.HeaderProof memory proof,
        MeterProof memory meter,
        Messages.SettlementReading memory reading,
        bytes memory signature
    ) private view returns (bytes memory) {
        return abi.encodeCall(meters.challengeReading, (proof, meter, reading, signature));
    }

    function readingOf(uint64 interval) private pure returns (Messages.SettlementReading memory reading) {
        (reading.account, reading.interval, reading.importWh, reading.exportWh) = (ADA_ACCOUNT, interval, 500, 100);
    }

    function test_a_signed_reading_stands_behind_its_leaf() public {
        Messages.SettlementReading memory reading = readingOf(FIRST - GRACE);
        bytes memory signature = signedBy(ADA_KEY, Messages.hashStruct(reading));
        Messages.MeterLeaf[] memory leaves = adas(500, 100, MeterRules.commitment(reading, signature), 0);
        ISettlement.HeaderProof memory proof = grownOver(leaves);
        lose(read(proof, proofOf(leaves, ADA_ACCOUNT), reading, signature), FINE);
        lose(read(proof, proofOf(leaves, BO_ACCOUNT), reading, signature), FINE);
        lose(read(proof, proofOf(leaves, ADA_ACCOUNT), reading, ""), FORGED);
        MeterProof memory meter = proofOf(leaves, ADA_ACCOUNT);
        meter.leaf.account = BO_ACCOUNT;
        lose(read(proof, meter, reading, signature), ELSEWHERE);
        meter.leaf.account = ADA_ACCOUNT;
        reading.flags = 1;
        lose(read(proof, proofOf(leaves, ADA_ACCOUNT), reading, signature), FORGED);
        leaves = adas(0, 0, 0, 0);
        proof = grownOver(leaves);
        lose(read(proof, proofOf(leaves, ADA_ACCOUNT), reading, signature), FORGED);
    }

    function test_a_reading_by_another_key_voids() public {
        Messages.SettlementReading memory reading = readingOf(FIRST - GRACE);
        bytes memory signature = signedBy(BO_KEY, Messages.hashStruct(reading));
        Messages.MeterLeaf[] memory leaves = adas(500, 100, MeterRules.commitment(reading, signature), 0);
        bytes memory input = read(grownOver(leaves), proofOf(leaves, ADA_ACCOUNT), reading, signature);
        win(input, 0, ISettlement.Lie.Reading, uint8(MeterRules.ReadingFault.NotByKey));
    }

    function test_a_reading_of_a_later_interval_voids() public {
        Messages.SettlementReading memory reading = readingOf(FIRST - GRACE + 1);
        bytes memory signature = signedBy(ADA_KEY, Messages.hashStruct(reading));
        Messages.MeterLeaf[] memory leaves = adas(500, 100, MeterRules.commitment(reading, signature), 0);
        bytes memory input = read(grownOver(leaves), proofOf(leaves, ADA_ACCOUNT), reading, signature);
        win(input, 0, ISettlement.Lie.Reading, uint8(MeterRules.ReadingFault.LaterInterval));
    }

    // Registers.

    function registers(
        ISettlement.HeaderProof memory proof,
        Messages.Header memory previous,
        MeterProof memory before,
        MeterProof memory meter
    ) private view returns (bytes memory) {
        return abi.encodeCall(meters.challengeRegister, (proof, previous, before, meter, ADA_ACCOUNT));
    }

    function test_registers_follow_those_of_the_header_before() public {
        Messages.MeterLeaf[] memory before = adas(500, 100, keccak256("first"), 0);
        ISettlement.HeaderProof memory first = grownOver(before);
        Messages.MeterLeaf[] memory leaves = adas(600, 130, keccak256("second"), 70);
        ISettlement.HeaderProof memory proof = grownOver(leaves);
        MeterProof memory meter = proofOf(leaves, ADA_ACCOUNT);
        MeterProof memory was = proofOf(before, ADA_ACCOUNT);
        lose(registers(proof, first.header, was, meter), FINE);
        // Before the first header there is none.
        lose(registers(first, noHeader(), noMeter(), was), FINE);
        lose(registers(first, first.header, was, was), ELSEWHERE);
        // Another header before, a leaf denied on either side.
        lose(registers(proof, proof.header, was, meter), ELSEWHERE);
        lose(registers(proof, noHeader(), noMeter(), meter), ELSEWHERE);
        was.present = false;
        lose(registers(proof, first.header, was, meter), ELSEWHERE);
        was.present = true;
        meter.present = false;
        lose(registers(proof, first.header, was, meter), ELSEWHERE);
    }

    function test_a_register_that_does_not_follow_voids() public {
        Messages.MeterLeaf[] memory before = adas(500, 100, keccak256("first"), 0);
        ISettlement.HeaderProof memory first = grownOver(before);
        Messages.MeterLeaf[] memory leaves = adas(600, 130, keccak256("second"), 71);
        leaves[BO_ACCOUNT].account = BO_ACCOUNT;
        ISettlement.HeaderProof memory proof = grownOver(leaves);
        MeterProof memory was = proofOf(before, ADA_ACCOUNT);
        bytes memory input = registers(proof, first.header, was, proofOf(leaves, ADA_ACCOUNT));
        win(input, 1, ISettlement.Lie.Register, uint8(MeterRules.RegisterFault.WrongDeviation));
    }

    // Contracts.

    struct Delivery {
        ISettlement.HeaderProof closing;
        ISettlement.HeaderProof next;
        Messages.Auction[] auctions;
        Messages.Slot[] slots;
        uint64 product;
    }

    /// @dev Closes the product at `place` that delivers in `settled`, posts headers up to `settled` + GRACE - 1.
    function delivered(uint64 settled, uint256 place) private returns (Delivery memory delivery) {
        int256 start = Products.firstCovering(int256(uint256(settled)), place);
        delivery.product = Products.numberOf(start, place);
        uint64 closing = uint64(uint256(start - Products.leadAt(place, GATE_LEADS)));
        idle();
        while (settlement.tipInterval() + 1 < closing) idle();
        delivery.slots = slotsOf(delivery.product);
        delivery.auctions = withSpot(auctionOf(delivery.product, 1, 0, 0, delivery.slots));
        delivery.closing = grown(delivery.auctions);
        delivery.next = idle();
        while (settlement.tipInterval() + 1 < settled + GRACE) idle();
    }

    function contracted(
        ISettlement.HeaderProof memory proof,
        MeterProof memory meter,
        uint256 place,
        Delivery memory delivery,
        uint256 last,
        SlotProof memory slot
    ) private view returns (bytes memory) {
        return abi.encodeCall(
            meters.challengeContracted,
            (
                proof,
                meter,
                ADA_ACCOUNT,
                place,
                delivery.closing,
                proofOf(delivery.auctions, last),
                proofOf(delivery.auctions, last + 1),
                slot
            )
        );
    }

    function test_the_quarter_hour_and_the_hour_that_deliver_are_contracted() public {
        for (uint256 place = 0; place < 2; place++) {
            setUp();
            Delivery memory delivery = delivered(FIRST + 6, place);
            SlotProof memory slot = proofOf(delivery.slots, delivery.auctions[1], ADA_ACCOUNT);
            Messages.MeterLeaf[] memory leaves = adas(0, 0, 0, -100);
            if (place == 0) (leaves[1].quarterWh, leaves[1].quarterCostNano) = (100, 12_000);
            if (place == 1) (leaves[1].hourWh, leaves[1].hourCostNano) = (100, 12_000);
            ISettlement.HeaderProof memory proof = grownOver(leaves);
            MeterProof memory meter = proofOf(leaves, ADA_ACCOUNT);
            lose(contracted(proof, meter, place, delivery, 1, slot), FINE);
            // The round denied, the slot denied, another account's.
            lose(contracted(proof, meter, place, delivery, 0, slot), STRANGERS);
            lose(contracted(proof, meter, place, delivery, 2, slot), STRANGERS);
            SlotProof memory bo = proofOf(delivery.slots, delivery.auctions[1], BO_ACCOUNT);
            lose(contracted(proof, meter, place, delivery, 1, bo), ELSEWHERE);
            // Another header than the one in which the gate closed, and a place that no length has.
            lose(contracted(proof, meter, 1 - place, delivery, 1, slot), FORGED);
            lose(contracted(proof, meter, 4, delivery, 1, slot), FINE);
            delivery.closing = proof;
            lose(contracted(proof, meter, place, delivery, 1, slot), FORGED);
        }
    }

    function test_another_position_than_the_closing_rounds_voids() public {
        isFull = true;
        uint8 fault = uint8(MeterRules.ContractedFault.NotThePosition);
        Delivery memory delivery = delivered(FIRST + 2, 0);
        SlotProof memory slot = proofOf(delivery.slots, delivery.auctions[1], ADA_ACCOUNT);
        Messages.MeterLeaf[] memory leaves = adas(0, 0, 0, -100);
        (leaves[1].quarterWh, leaves[1].quarterCostNano) = (100, 11_999);
        ISettlement.HeaderProof memory proof = grownOver(leaves);
        uint256 index = proof.index;
        win(contracted(proof, proofOf(leaves, 1), 0, delivery, 1, slot), index, ISettlement.Lie.Contracted, fault);
    }

    function test_contracts_without_a_leaf_and_leaves_without_contracts_void() public {
        uint8 fault = uint8(MeterRules.ContractedFault.NotThePosition);
        Delivery memory delivery = delivered(FIRST + 2, 0);
        SlotProof memory slot = proofOf(delivery.slots, delivery.auctions[1], ADA_ACCOUNT);
        Messages.MeterLeaf[] memory leaves = new Messages.MeterLeaf[](3);
        ISettlement.HeaderProof memory proof = grownOver(leaves);
        uint256 index = proof.index;
        win(contracted(proof, proofOf(leaves, 1), 0, delivery, 1, slot), index, ISettlement.Lie.Contracted, fault);
        // The quarter-hour after it had no closing round.
        leaves = adas(0, 0, 0, -1);
        leaves[1].quarterWh = 1;
        ISettlement.HeaderProof memory next = grownOver(leaves);
        (delivery.closing, delivery.auctions) = (delivery.next, noAuctions());
        bytes memory input = contracted(next, proofOf(leaves, 1), 0, delivery, 0, noSlot());
        win(input, next.index, ISettlement.Lie.Contracted, fault);
    }

    function test_what_closed_before_the_first_header_is_not_contracted() public {
        Messages.MeterLeaf[] memory leaves = adas(0, 0, 0, 0);
        ISettlement.HeaderProof memory first = grownOver(leaves);
        Delivery memory delivery;
        (delivery.closing, delivery.auctions) = (first, noAuctions());
        for (uint256 place = 0; place < 4; place++) {
            lose(contracted(first, proofOf(leaves, 1), place, delivery, 0, noSlot()), FINE);
        }
        leaves[ADA_ACCOUNT].weekCostNano = -1;
        ISettlement.HeaderProof memory proof = grownOver(leaves);
        uint8 fault = uint8(MeterRules.ContractedFault.NotThePosition);
        bytes memory input = contracted(proof, proofOf(leaves, 1), 3, delivery, 0, noSlot());
        win(input, 1, ISettlement.Lie.Contracted, fault);
        // Only the first header says so.
        delivery.closing = proof;
        lose(contracted(proof, proofOf(leaves, 1), 3, delivery, 0, noSlot()), FORGED);
        delivery.closing.header.volumeWh = 1;
        bytes4 unknown = ISettlement.UnknownHeader.selector;
        lose(contracted(proof, proofOf(leaves, 1), 3, delivery, 0, noSlot()), unknown);
    }

    // Balances.

    function evidenceOf(
        Messages.Header memory previous,
        BalanceProof memory before,
        BalanceProof memory afterwards,
        MeterProof memory meter,
        AuctionProof memory spot,
        SlotProof memory slot
    ) private pure returns (MeterChallenges.BalanceEvidence memory) {
        return MeterChallenges.BalanceEvidence(ADA_ACCOUNT, previous, before, afterwards, meter, spot, slot);
    }

    function balance(ISettlement.HeaderProof memory proof, MeterChallenges.BalanceEvidence memory evidence)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(meters.challengeBalance, (proof, evidence));
    }

    /// @dev Ada bought 40 Wh in the spot round, all of it there, at the header's spot price of 80,000.
    function spotOf(uint64 quantityWh, uint64 fillWh) private pure returns (Messages.Slot[] memory slots) {
        slots = slotsOf(1025);
        (slots[ADA_ACCOUNT].quantityWh, slots[ADA_ACCOUNT].fillWh) = (quantityWh, fillWh);
    }

    function test_a_balance_moves_by_contracts_and_spot() public {
        Messages.BalanceLeaf[] memory before = adas(1_000, 0, 0);
        ISettlement.HeaderProof memory first = grownOver(before, noAuctions());
        Messages.Slot[] memory slots = spotOf(40, 40);
        Messages.Auction[] memory list = new Messages.Auction[](1);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, slots);
        Messages.MeterLeaf[] memory leaves = adas(0, 0, 0, 40);
        leaves[ADA_ACCOUNT].dayCostNano = 500;
        Messages.BalanceLeaf[] memory balances = adas(1_000 - 500 - 40 * 80_000, 0, 0);
        ISettlement.HeaderProof memory proof = grown(auctionsRoot(list), metersRoot(leaves), balancesRoot(balances));
        MeterChallenges.BalanceEvidence memory evidence = evidenceOf(
            first.header,
            proofOf(before, ADA_ACCOUNT),
            proofOf(balances, ADA_ACCOUNT),
            proofOf(leaves, ADA_ACCOUNT),
            proofOf(list, 0),
            proofOf(slots, list[0], ADA_ACCOUNT)
        );
        lose(balance(proof, evidence), FINE);
        evidence.account = 0;
        lose(balance(proof, evidence), ELSEWHERE);
        evidence.account = BO_ACCOUNT;
        lose(balance(proof, evidence), ELSEWHERE);
        evidence.account = ADA_ACCOUNT;
        // Each leaf denied in turn, the spot round sought elsewhere, another header before.
        evidence.before.present = false;
        lose(balance(proof, evidence), ELSEWHERE);
        (evidence.before.present, evidence.afterwards.present) = (true, false);
        lose(balance(proof, evidence), ELSEWHERE);
        (evidence.afterwards.present, evidence.meter.present) = (true, false);
        lose(balance(proof, evidence), ELSEWHERE);
        (evidence.meter.present, evidence.slot.present) = (true, false);
        lose(balance(proof, evidence), ELSEWHERE);
        (evidence.slot.present, evidence.spot.present) = (true, false);
        lose(balance(proof, evidence), ELSEWHERE);
        evidence.spot = proofOf(list, 1);
        lose(balance(proof, evidence), ELSEWHERE);
        evidence.spot = proofOf(list, 0);
        evidence.previous = proof.header;
        lose(balance(proof, evidence), ELSEWHERE);
    }

    function test_a_balance_that_moved_otherwise_voids_from_the_first_header_on() public {
        Messages.BalanceLeaf[] memory balances = adas(1, 0, 0);
        Messages.MeterLeaf[] memory leaves = new Messages.MeterLeaf[](3);
        ISettlement.HeaderProof memory proof = grownOver(balances, noAuctions());
        MeterChallenges.BalanceEvidence memory evidence = evidenceOf(
            noHeader(),
            noBalance(),
            proofOf(balances, ADA_ACCOUNT),
            proofOf(leaves, ADA_ACCOUNT),
            proofOf(noAuctions(), 0),
            noSlot()
        );
        win(balance(proof, evidence), 0, ISettlement.Lie.Balance, uint8(HeaderRules.BalanceFault.WrongCumulative));
        evidence.before = evidence.afterwards;
        lose(balance(proof, evidence), ELSEWHERE);
        // Without a spot round nobody has a slot in it.
        evidence.before = noBalance();
        evidence.slot.present = true;
        lose(balance(proof, evidence), ELSEWHERE);
    }

    function test_the_supplier_meters_nothing_and_trades_nothing() public {
        Messages.BalanceLeaf[] memory balances = new Messages.BalanceLeaf[](3);
        Messages.MeterLeaf[] memory leaves = new Messages.MeterLeaf[](3);
        Messages.Slot[] memory slots = spotOf(0, 0);
        Messages.Auction[] memory list = new Messages.Auction[](1);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, slots);
        ISettlement.HeaderProof memory proof = grown(auctionsRoot(list), metersRoot(leaves), balancesRoot(balances));
        MeterChallenges.BalanceEvidence memory evidence = evidenceOf(
            noHeader(),
            noBalance(),
            proofOf(balances, 0),
            proofOf(leaves, 0),
            proofOf(list, 0),
            proofOf(slots, list[0], 0)
        );
        evidence.account = 0;
        lose(balance(proof, evidence), FINE);
        (slots[0].product, slots[0].quantityWh, slots[0].fillWh) = (1025, 40, 40);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, slots);
        evidence.previous = proof.header;
        proof = grown(auctionsRoot(list), metersRoot(leaves), balancesRoot(balances));
        evidence.before = proofOf(balances, 0);
        (evidence.spot, evidence.slot) = (proofOf(list, 0), proofOf(slots, list[0], 0));
        uint8 fault = uint8(HeaderRules.BalanceFault.SpotIsNotDeviation);
        win(balance(proof, evidence), 1, ISettlement.Lie.Balance, fault);
    }

    function test_a_balance_that_vanished_voids() public {
        isFull = true;
        Messages.BalanceLeaf[] memory before = adas(1_000, 0, 0);
        ISettlement.HeaderProof memory first = grownOver(before, noAuctions());
        Messages.BalanceLeaf[] memory balances = new Messages.BalanceLeaf[](3);
        ISettlement.HeaderProof memory proof = grownOver(balances, noAuctions());
        MeterChallenges.BalanceEvidence memory evidence = evidenceOf(
            first.header,
            proofOf(before, ADA_ACCOUNT),
            proofOf(balances, ADA_ACCOUNT),
            proofOf(new Messages.MeterLeaf[](3), ADA_ACCOUNT),
            proofOf(noAuctions(), 0),
            noSlot()
        );
        win(balance(proof, evidence), 1, ISettlement.Lie.Balance, uint8(HeaderRules.BalanceFault.WrongCumulative));
    }
}
