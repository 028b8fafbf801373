// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AuctionProof, SlotProof} from "../src/challenges/Proofs.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {RoundRules} from "../src/libraries/RoundRules.sol";
import {RoundCast} from "./RoundCast.sol";

/// @dev Order, chain, slots along it, and its end.
contract RoundChallengesTest is RoundCast {
    // Order.

    function order(ISettlement.HeaderProof memory proof, Messages.Auction[] memory list, uint256 one, uint256 two)
        private
        view
        returns (bytes memory)
    {
        return abi.encodeCall(rounds.challengeOrder, (proof, proofOf(list, one), proofOf(list, two)));
    }

    function test_auctions_in_order_stay() public {
        Messages.Auction[] memory list =
            listOf(auctionOf(HOUR, 1, 0, 0, noSlots()), auctionOf(HOUR, 2, 0, 0, noSlots()));
        ISettlement.HeaderProof memory proof = grown(list);
        for (uint256 i = 0; i < 7; i++) {
            lose(order(proof, list, i, i + 1), FINE);
        }
        lose(order(proof, list, 2, 1), STRANGERS);
        lose(order(proof, list, 1, 1), STRANGERS);
        lose(order(proof, list, 0, 2), STRANGERS);
        // Leaves cannot be denied, nor made up.
        AuctionProof memory denied = proofOf(list, 1);
        denied.present = false;
        lose(abi.encodeCall(rounds.challengeOrder, (proof, denied, proofOf(list, 2))), ELSEWHERE);
        lose(abi.encodeCall(rounds.challengeOrder, (proof, proofOf(list, 0), denied)), ELSEWHERE);
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
        lose(order(proof, list, 1, 2), ISettlement.AlreadyFinal.selector);
        proof.index = 1;
        lose(order(proof, list, 1, 2), ISettlement.UnknownHeader.selector);
    }

    function test_an_auction_out_of_order_voids() public {
        Messages.Auction[] memory list =
            listOf(auctionOf(HOUR, 2, 0, 0, noSlots()), auctionOf(HOUR, 2, 0, bytes32(uint256(1)), noSlots()));
        win(order(grown(list), list, 1, 2), 0, ISettlement.Lie.Order, uint8(RoundRules.OrderFault.Unsorted));
    }

    function test_an_auction_behind_a_gap_voids() public {
        Messages.Auction memory empty;
        Messages.Auction[] memory list = listOf(empty, auctionOf(HOUR, 2, 0, 0, noSlots()));
        win(order(grown(list), list, 1, 2), 0, ISettlement.Lie.Order, uint8(RoundRules.OrderFault.Gap));
    }

    // The chain of rounds.

    function test_a_round_follows_the_one_it_names() public {
        Messages.Auction memory first = auctionOf(HOUR, 1, 0, 0, noSlots());
        Messages.Auction[] memory list = listOf(first, auctionOf(HOUR, 2, 0, Messages.hashStruct(first), noSlots()));
        ISettlement.HeaderProof memory proof = grown(list);
        lose(chain(proof, list, 2, first), FINE);
        lose(chain(proof, list, 1, first), FINE);
        lose(chain(proof, list, 3, first), FINE);
        lose(chain(proof, list, 2, list[2]), FORGED);
    }

    function test_a_round_after_a_later_one_voids() public {
        Messages.Auction memory first = auctionOf(HOUR, 3, 0, 0, noSlots());
        Messages.Auction[] memory list = listOf(auctionOf(HOUR, 2, 0, Messages.hashStruct(first), noSlots()), first);
        bytes memory input = chain(grown(list), list, 1, first);
        win(input, 0, ISettlement.Lie.Round, uint8(RoundRules.RoundFault.NotLater));
    }

    function test_a_round_after_the_gate_voids() public {
        // A quarter-hour closes one interval before delivery.
        Messages.Auction[] memory list = new Messages.Auction[](5);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, noSlots());
        list[1] = auctionOf(FIRST * 1024 + 1, 1, 0, 0, noSlots());
        list[2] = auctionOf((FIRST + 1) * 1024 + 1, 1, 0, 0, noSlots());
        list[3] = auctionOf(HOUR + 1, 1, 0, 0, noSlots());
        ISettlement.HeaderProof memory proof = grown(list);
        uint8 fault = uint8(RoundRules.RoundFault.AfterGate);
        win(abi.encodeCall(rounds.challengeGate, (proof, proofOf(list, 1))), 0, ISettlement.Lie.Round, fault);
        fault = uint8(RoundRules.RoundFault.NoProduct);
        win(abi.encodeCall(rounds.challengeGate, (proof, proofOf(list, 3))), 0, ISettlement.Lie.Round, fault);
        lose(abi.encodeCall(rounds.challengeGate, (proof, proofOf(list, 2))), FINE);
        lose(abi.encodeCall(rounds.challengeGate, (proof, proofOf(list, 4))), FINE);
        lose(abi.encodeCall(rounds.challengeGate, (proof, proofOf(list, 0))), FINE);
        AuctionProof memory moved = proofOf(list, 1);
        moved.index = 2;
        lose(abi.encodeCall(rounds.challengeGate, (proof, moved)), ELSEWHERE);
    }

    function test_two_rounds_after_the_same_one_void_the_later_header() public {
        Messages.Auction[] memory early =
            listOf(auctionOf(HOUR, 1, 0, 0, noSlots()), auctionOf(HOUR + 4096, 1, 0, 0, noSlots()));
        ISettlement.HeaderProof memory earlyProof = grown(early);
        Messages.Auction[] memory late =
            listOf(auctionOf(HOUR, 2, 0, 0, noSlots()), auctionOf(HOUR, 3, 0, 0, noSlots()));
        ISettlement.HeaderProof memory lateProof = grown(late);
        uint8 fault = uint8(RoundRules.ForkFault.SamePlace);
        bytes memory input = fork(lateProof, late, 1, earlyProof, early, 1);
        win(input, 1, ISettlement.Lie.Fork, fault);
        // Within one header, in both orders.
        input = fork(lateProof, late, 1, lateProof, late, 2);
        win(input, 1, ISettlement.Lie.Fork, fault);
        input = fork(lateProof, late, 2, lateProof, late, 1);
        win(input, 1, ISettlement.Lie.Fork, fault);
        // The earlier header is not the lie, an auction is no fork of itself, nor of another product, nor of nothing.
        input = fork(earlyProof, early, 1, lateProof, late, 1);
        lose(input, FINE);
        input = fork(lateProof, late, 1, lateProof, late, 1);
        lose(input, FINE);
        input = fork(lateProof, late, 1, earlyProof, early, 2);
        lose(input, FINE);
        input = fork(lateProof, late, 1, earlyProof, early, 3);
        lose(input, FINE);
        // A fork with a final header is one.
        VM.warp(block.timestamp + WINDOW_S - 900);
        settlement.finalise(earlyProof);
        input = fork(lateProof, late, 1, earlyProof, early, 1);
        win(input, 1, ISettlement.Lie.Fork, fault);
        // What a void header held accuses nobody.
        voidFor(BO, lateProof);
        input = fork(earlyProof, early, 1, lateProof, late, 1);
        lose(input, ISettlement.AlreadyFinal.selector);
        input = fork(lateProof, late, 1, earlyProof, early, 1);
        lose(input, ISettlement.UnknownHeader.selector);
    }

    // Slots along the chain.

    function test_a_slot_that_follows_stays() public {
        Messages.Slot[] memory before = slotsOf(HOUR, 1, 0, 100);
        Messages.Auction[] memory early = listOf(auctionOf(HOUR, 1, 0, 0, before));
        ISettlement.HeaderProof memory earlyProof = grown(early);
        Messages.Slot[] memory slots = slotsOf(HOUR, 1, 100, 50);
        Messages.Auction[] memory late = listOf(auctionOf(HOUR, 2, 0, Messages.hashStruct(early[1]), slots));
        ISettlement.HeaderProof memory proof = grown(late);
        SlotProof memory slotBefore = proofOf(before, early[1], ADA_ACCOUNT);
        lose(carry(proof, late, slots, early[1], slotBefore), FINE);
        // A first round has nothing before it, whatever is brought.
        lose(carry(earlyProof, early, before, early[1], nobody()), FINE);
        lose(carry(earlyProof, early, before, early[1], slotBefore), ELSEWHERE);
        // Another round before, the slot before denied, another account's slot, the slot denied.
        lose(carry(proof, late, slots, late[1], slotBefore), FORGED);
        lose(carry(proof, late, slots, early[1], proofOf(before, early[1], BO_ACCOUNT)), ELSEWHERE);
        slotBefore.present = false;
        lose(carry(proof, late, slots, early[1], slotBefore), ELSEWHERE);
        lose(carry(proof, late, noSlots(), early[1], proofOf(before, early[1], ADA_ACCOUNT)), ELSEWHERE);
        // Who has no slot in either round is not asked, nor is who has no place in a tree.
        SlotProof memory bo = proofOf(slots, late[1], BO_ACCOUNT);
        SlotProof memory boBefore = proofOf(before, early[1], BO_ACCOUNT);
        AuctionProof memory auction = proofOf(late, 1);
        bytes memory input = abi.encodeCall(rounds.challengeCarry, (proof, auction, bo, early[1], boBefore, BO_ACCOUNT));
        lose(input, FINE);
        input = abi.encodeCall(rounds.challengeCarry, (proof, auction, bo, early[1], boBefore, BO_ACCOUNT + (1 << 20)));
        lose(input, MerkleSum.IndexOutsideTree.selector);
    }

    function test_slots_of_a_spot_round_are_not_carried() public {
        Messages.Slot[] memory slots = slotsOf(1025, 1, 7, 100);
        Messages.Auction[] memory list = listOf(auctionOf(1025, 0xFFFF, 1, 0, slots));
        lose(carry(grown(list), list, slots, list[1], nobody()), FINE);
    }

    function test_a_slot_that_was_dropped_or_moved_voids() public {
        Messages.Slot[] memory before = slotsOf(HOUR, 1, 0, 100);
        Messages.Auction[] memory early = listOf(auctionOf(HOUR, 1, 0, 0, before));
        grown(early);
        SlotProof memory slotBefore = proofOf(before, early[1], ADA_ACCOUNT);
        uint256 fault = uint256(RoundRules.CarryFault.Dropped);
        for (; fault <= uint256(RoundRules.CarryFault.WrongPosition); fault++) {
            Messages.Slot[] memory slots = fault == 1 ? noSlots() : slotsOf(HOUR, 1, 100, 50);
            if (fault == 2) slots[ADA_ACCOUNT].positionWh = type(int64).min;
            Messages.Auction[] memory late = listOf(auctionOf(HOUR, 2, 0, Messages.hashStruct(early[1]), slots));
            ISettlement.HeaderProof memory proof = grown(late);
            win(carry(proof, late, slots, early[1], slotBefore), 1, ISettlement.Lie.Carry, uint8(fault));
            voidFor(BO, proof);
            VM.prank(GOVERNANCE);
            settlement.restart(BOND, VM.addr(OPERATOR_KEY));
        }
    }

    // The closing round.

    function test_a_product_in_which_something_is_held_has_a_closing_round() public {
        // A quarter-hour closes one interval before delivery.
        uint64 product = (FIRST + 2) * 1024 + 1;
        uint64 later = product + 1024;
        Messages.Slot[] memory slots = slotsOf(product, 1, 0, 100);
        Messages.Slot[] memory laterSlots = slotsOf(later, 1, 0, 100);
        Messages.Auction[] memory early =
            listOf(auctionOf(product, 1, 0, 0, slots), auctionOf(later, 1, 0, 0, laterSlots));
        ISettlement.HeaderProof memory earlyProof = grown(early);
        Messages.Auction[] memory late = listOf(auctionOf(HOUR, 1, 0, 0, noSlots()));
        ISettlement.HeaderProof memory proof = grown(late);
        (AuctionProof memory last, AuctionProof memory next) = (proofOf(late, 0), proofOf(late, 1));
        (AuctionProof memory held, SlotProof memory slot) = (proofOf(early, 1), proofOf(slots, early[1], ADA_ACCOUNT));
        bytes memory input = close(proof, last, next, earlyProof, held, slot);
        win(input, 1, ISettlement.Lie.Closing, uint8(RoundRules.ClosingFault.RoundMissing));
        // Not yet the header of the gate, and nobody's slot.
        held = proofOf(early, 2);
        SlotProof memory other = proofOf(laterSlots, early[2], ADA_ACCOUNT);
        lose(close(proof, last, next, earlyProof, held, other), FINE);
        held = proofOf(early, 1);
        SlotProof memory bo = proofOf(slots, early[1], BO_ACCOUNT);
        lose(close(proof, last, next, earlyProof, held, bo), FINE);
        // Leaves that do not say that there is none.
        last = proofOf(late, 2);
        next = proofOf(late, 3);
        lose(close(proof, last, next, earlyProof, held, slot), STRANGERS);
        proof.header.volumeWh += 1;
        input = close(proof, last, next, earlyProof, held, slot);
        lose(input, ISettlement.UnknownHeader.selector);
    }

    function test_a_closing_round_closes_and_empty_hands_need_none() public {
        uint64 product = (FIRST + 2) * 1024 + 1;
        Messages.Slot[] memory slots = slotsOf(product, 1, 0, 100);
        Messages.Slot[] memory idle = slotsOf(product + 1024, 1, 0, 0);
        Messages.Auction[] memory early =
            listOf(auctionOf(product, 1, 0, 0, slots), auctionOf(product + 1024, 1, 0, 0, idle));
        ISettlement.HeaderProof memory earlyProof = grown(early);
        Messages.Auction[] memory late = listOf(auctionOf(product, 2, 0, Messages.hashStruct(early[1]), noSlots()));
        ISettlement.HeaderProof memory proof = grown(late);
        (AuctionProof memory last, AuctionProof memory next) = (proofOf(late, 1), proofOf(late, 2));
        (AuctionProof memory held, SlotProof memory slot) = (proofOf(early, 1), proofOf(slots, early[1], ADA_ACCOUNT));
        lose(close(proof, last, next, earlyProof, held, slot), FINE);
        // The round cannot be denied by the leaves before it.
        (last, next) = (proofOf(late, 0), proofOf(late, 1));
        lose(close(proof, last, next, earlyProof, held, slot), STRANGERS);
        // What is held in a later header does not count in an earlier one.
        Messages.Auction[] memory latest = listOf(auctionOf(HOUR, 1, 0, 0, noSlots()));
        ISettlement.HeaderProof memory latestProof = grown(latest);
        (last, next) = (proofOf(latest, 0), proofOf(latest, 1));
        (held, slot) = (proofOf(early, 2), proofOf(idle, early[2], ADA_ACCOUNT));
        lose(close(latestProof, last, next, earlyProof, held, slot), FINE);
        lose(close(proof, last, next, latestProof, held, slot), ELSEWHERE);
    }

    function test_a_position_of_after_its_gate_accuses_no_header_before() public {
        uint64 product = (FIRST + 1) * 1024 + 1;
        Messages.Auction[] memory early = listOf(auctionOf(HOUR, 1, 0, 0, noSlots()));
        ISettlement.HeaderProof memory earlyProof = grown(early);
        Messages.Slot[] memory slots = slotsOf(product, 1, 0, 100);
        Messages.Auction[] memory late = listOf(auctionOf(product, 1, 0, 0, slots));
        ISettlement.HeaderProof memory proof = grown(late);
        (AuctionProof memory last, AuctionProof memory next) = (proofOf(early, 0), proofOf(early, 1));
        SlotProof memory slot = proofOf(slots, late[1], ADA_ACCOUNT);
        bytes memory input =
            abi.encodeCall(rounds.challengeClosing, (earlyProof, last, next, proof, proofOf(late, 1), slot));
        lose(input, FINE);
    }

    // Gas.

    function test_the_dearest_challenges_stay_within_bounds_in_full_trees() public {
        isFull = true;
        uint64 product = (FIRST + 2) * 1024 + 1;
        Messages.Slot[] memory slots = slotsOf(product, 1, 0, 100);
        Messages.Auction[] memory early = listOf(auctionOf(product, 1, 0, 0, slots));
        ISettlement.HeaderProof memory earlyProof = grown(early);
        Messages.Slot[] memory moved = slotsOf(product, 1, 100, 50);
        moved[ADA_ACCOUNT].positionWh += 1;
        Messages.Auction[] memory late = listOf(auctionOf(product, 2, 0, Messages.hashStruct(early[1]), moved));
        ISettlement.HeaderProof memory proof = grown(late);
        bytes memory input = carry(proof, late, moved, early[1], proofOf(slots, early[1], ADA_ACCOUNT));
        win(input, 1, ISettlement.Lie.Carry, uint8(RoundRules.CarryFault.WrongPosition));
        voidFor(BO, proof);
        VM.prank(GOVERNANCE);
        settlement.restart(BOND, VM.addr(OPERATOR_KEY));
        late = listOf(auctionOf(HOUR, 2, 0, 0, noSlots()));
        proof = grown(late);
        SlotProof memory slot = proofOf(slots, early[1], ADA_ACCOUNT);
        input = abi.encodeCall(
            rounds.challengeClosing, (proof, proofOf(late, 0), proofOf(late, 1), earlyProof, proofOf(early, 1), slot)
        );
        win(input, 1, ISettlement.Lie.Closing, uint8(RoundRules.ClosingFault.RoundMissing));
    }
}
