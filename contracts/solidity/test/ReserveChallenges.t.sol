// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AuctionProof, BalanceProof, SlotProof} from "../src/challenges/Proofs.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Commitments} from "../src/libraries/Commitments.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Lists} from "./Lists.sol";
import {MeterCast} from "./MeterCast.sol";

/// @dev Reserves, the commitments behind them, and what is carried from header to header.
contract ReserveChallengesTest is MeterCast {
    // Reserves.

    function reserve(
        ISettlement.HeaderProof memory proof,
        BalanceProof memory leaf,
        Commitments.Commitment[] memory list
    ) private view returns (bytes memory) {
        return abi.encodeCall(meters.challengeReserve, (proof, leaf, list));
    }

    function test_a_reserve_is_the_sum_of_its_list() public {
        Commitments.Commitment[] memory list = listOf(HOUR, 7, 10);
        Messages.BalanceLeaf[] memory leaves = adas(list, 47);
        ISettlement.HeaderProof memory proof = grownOver(leaves, noAuctions());
        lose(reserve(proof, proofOf(leaves, ADA_ACCOUNT), list), FINE);
        lose(reserve(proof, proofOf(leaves, BO_ACCOUNT), noList()), FINE);
        lose(reserve(proof, proofOf(leaves, ADA_ACCOUNT), noList()), FORGED);
        lose(reserve(proof, proofOf(leaves, ADA_ACCOUNT), listOf(HOUR, 7, 11)), FORGED);
        leaves[ADA_ACCOUNT].reservedNano = 46;
        lose(reserve(proof, proofOf(leaves, ADA_ACCOUNT), list), ELSEWHERE);
    }

    function test_another_reserve_than_the_sum_voids() public {
        Commitments.Commitment[] memory list = listOf(HOUR, 7, 10);
        Messages.BalanceLeaf[] memory leaves = adas(list, 46);
        bytes memory input = reserve(grownOver(leaves, noAuctions()), proofOf(leaves, ADA_ACCOUNT), list);
        win(input, 0, ISettlement.Lie.Reserve, uint8(Commitments.ReserveFault.WrongSum));
    }

    function test_the_supplier_reserves_nothing() public {
        Messages.BalanceLeaf[] memory leaves = new Messages.BalanceLeaf[](3);
        leaves[0].cumulativeNano = 5;
        uint8 fault = uint8(Commitments.ReserveFault.WrongSum);
        ISettlement.HeaderProof memory proof = grownOver(leaves, noAuctions());
        lose(reserve(proof, proofOf(leaves, 0), noList()), FINE);
        leaves[0].reservedNano = 1;
        proof = grownOver(leaves, noAuctions());
        win(reserve(proof, proofOf(leaves, 0), noList()), 1, ISettlement.Lie.Reserve, fault);
        // Also where nobody can open its list.
        (leaves[0].reservedNano, leaves[0].commitmentsHash) = (0, keccak256("whatever"));
        proof = grownOver(leaves, noAuctions());
        win(reserve(proof, proofOf(leaves, 0), noList()), 2, ISettlement.Lie.Reserve, fault);
    }

    // Commitments.

    function commit(
        ISettlement.HeaderProof memory proof,
        BalanceProof memory leaf,
        Commitments.Commitment[] memory list,
        Messages.Auction[] memory auctions,
        uint256 last,
        SlotProof memory slot
    ) private view returns (bytes memory) {
        return abi.encodeCall(
            meters.challengeCommitment,
            (
                proof,
                ADA_ACCOUNT,
                leaf,
                Lists.openingOf(list, last < auctions.length ? auctions[last].product : 0),
                proofOf(auctions, last),
                proofOf(auctions, last + 1),
                slot
            )
        );
    }

    function test_a_commitment_is_what_the_last_round_leaves_open() public {
        Messages.Slot[] memory slots = slotsOf(HOUR);
        Messages.Auction[] memory list = withSpot(auctionOf(HOUR, 1, 0, 0, slots));
        // 400 Wh at 200 over four intervals, and what 100 Wh cost.
        Commitments.Commitment[] memory owed = listOf(HOUR, 320_000, 12_000);
        Messages.BalanceLeaf[] memory leaves = adas(owed, 368_000);
        ISettlement.HeaderProof memory proof = grownOver(leaves, list);
        BalanceProof memory ada = proofOf(leaves, ADA_ACCOUNT);
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(commit(proof, ada, owed, list, 1, slot), FINE);
        // No round, no last round, the spot round, another list, a leaf or a slot denied.
        lose(commit(proof, ada, owed, list, 0, slot), STRANGERS);
        lose(commit(proof, ada, owed, list, 2, slot), STRANGERS);
        lose(commit(proof, ada, noList(), list, 1, slot), FORGED);
        slot.present = false;
        lose(commit(proof, ada, owed, list, 1, slot), ELSEWHERE);
        slot.present = true;
        ada.present = false;
        lose(commit(proof, ada, noList(), list, 1, slot), ELSEWHERE);
        bytes memory input = abi.encodeCall(
            meters.challengeCommitment,
            (proof, 0, ada, Lists.openingOf(owed, HOUR), proofOf(list, 1), proofOf(list, 2), slot)
        );
        lose(input, FINE);
    }

    function test_an_honest_commitment_cannot_be_denied_by_bits_beyond_its_fields() public {
        Messages.Slot[] memory slots = slotsOf(HOUR);
        Messages.Auction[] memory list = withSpot(auctionOf(HOUR, 1, 0, 0, slots));
        Commitments.Commitment[] memory owed = listOf(HOUR, 320_000, 12_000);
        Messages.BalanceLeaf[] memory leaves = adas(owed, 368_000);
        ISettlement.HeaderProof memory proof = grownOver(leaves, list);
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        for (uint256 field = 0; field < 3; field++) {
            // The encoder keeps to widths, so the bit is set in what it gives: the list is where 1 entry of HOUR lies.
            bytes memory input = commit(proof, proofOf(leaves, ADA_ACCOUNT), owed, list, 1, slot);
            uint256 chosen = _placeOf(input, HOUR, 320_000);
            input[chosen + field * 32] = 0x01;
            assertRefused(address(meters), input, field == 0 ? FINE : bytes4(0));
        }
    }

    /// @dev Where the word `first` is followed by the word `second`.
    function _placeOf(bytes memory input, uint256 first, uint256 second) private pure returns (uint256 place) {
        for (place = 4; place + 64 <= input.length; place += 32) {
            bytes32 one;
            bytes32 two;
            assembly ("memory-safe") {
                one := mload(add(add(input, 0x20), place))
                two := mload(add(add(input, 0x40), place))
            }
            if (uint256(one) == first && uint256(two) == second) return place;
        }
        revert("not there");
    }

    function test_a_commitment_that_is_not_the_slots_voids() public {
        uint8 fault = uint8(Commitments.CommitmentFault.NotTheSlots);
        Messages.Slot[] memory slots = slotsOf(HOUR);
        Messages.Auction[] memory list = withSpot(auctionOf(HOUR, 1, 0, 0, slots));
        for (uint256 i = 0; i < 3; i++) {
            // Too little, nothing at all, and for who has no slot.
            Commitments.Commitment[] memory owed = i == 1 ? noList() : listOf(HOUR, 320_000, 11_999);
            if (i == 2) slots = new Messages.Slot[](3);
            list = withSpot(auctionOf(HOUR, 1, 0, 0, slots));
            Messages.BalanceLeaf[] memory leaves = i == 1 ? new Messages.BalanceLeaf[](3) : adas(owed, 0);
            ISettlement.HeaderProof memory proof = grownOver(leaves, list);
            SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
            bytes memory input = commit(proof, proofOf(leaves, ADA_ACCOUNT), owed, list, 1, slot);
            win(input, i, ISettlement.Lie.Commitment, fault);
        }
    }

    function test_a_closed_bid_and_a_strange_product_owe_nothing() public {
        uint64 closing = (FIRST + 1) * 1024 + 1;
        Messages.Slot[] memory slots = slotsOf(closing);
        Messages.Auction[] memory list = new Messages.Auction[](3);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, new Messages.Slot[](3));
        list[1] = auctionOf(closing, 1, 0, 0, slots);
        Messages.Slot[] memory strange = slotsOf(HOUR + 1);
        list[2] = auctionOf(HOUR + 1, 1, 0, 0, strange);
        Commitments.Commitment[] memory owed = listOf(closing, 0, 12_000);
        Messages.BalanceLeaf[] memory leaves = adas(owed, 12_000);
        ISettlement.HeaderProof memory proof = grownOver(leaves, list);
        BalanceProof memory ada = proofOf(leaves, ADA_ACCOUNT);
        lose(commit(proof, ada, owed, list, 1, proofOf(slots, list[1], ADA_ACCOUNT)), FINE);
        lose(commit(proof, ada, owed, list, 2, proofOf(strange, list[2], ADA_ACCOUNT)), FINE);
    }

    function test_a_misplaced_spot_round_commits_nobody() public {
        Messages.Slot[] memory slots = slotsOf(HOUR);
        Messages.Auction[] memory list = withSpot(auctionOf(HOUR, 0xFFFF, 1, 0, slots));
        Messages.BalanceLeaf[] memory leaves = new Messages.BalanceLeaf[](3);
        ISettlement.HeaderProof memory proof = grownOver(leaves, list);
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(commit(proof, proofOf(leaves, ADA_ACCOUNT), noList(), list, 1, slot), FINE);
    }

    function test_the_last_leaf_of_all_has_no_neighbour() public {
        uint256 place = (1 << MerkleSum.AUCTIONS_DEPTH) - 1;
        Messages.Slot[] memory slots = slotsOf(HOUR);
        Messages.Auction memory auction = auctionOf(HOUR, 1, 0, 0, slots);
        MerkleSum.Node memory node = Leaves.node(auction);
        MerkleSum.Node memory empty;
        for (uint256 height = 0; height < MerkleSum.AUCTIONS_DEPTH; height++) {
            node = MerkleSum.parent(empty, node);
        }
        Messages.BalanceLeaf[] memory leaves = adas(0, 0, 0);
        ISettlement.HeaderProof memory proof =
            grown(MerkleSum.commitment(node), metersRoot(new Messages.MeterLeaf[](0)), balancesRoot(leaves));
        AuctionProof memory last = AuctionProof(true, auction, place, emptyPath());
        AuctionProof memory nothing;
        BalanceProof memory ada = proofOf(leaves, ADA_ACCOUNT);
        SlotProof memory slot = proofOf(slots, auction, ADA_ACCOUNT);
        bytes memory input = abi.encodeCall(
            meters.challengeCommitment, (proof, ADA_ACCOUNT, ada, Lists.openingOf(noList(), HOUR), last, nothing, slot)
        );
        win(input, 0, ISettlement.Lie.Commitment, uint8(Commitments.CommitmentFault.NotTheSlots));
        // Empty, it says nothing about what stands before it.
        proof = grownOver(leaves, noAuctions());
        last.present = false;
        input = abi.encodeCall(
            meters.challengeCommitment, (proof, ADA_ACCOUNT, ada, Lists.openingOf(noList(), HOUR), last, nothing, slot)
        );
        lose(input, STRANGERS);
        // Beyond it there is no leaf.
        last.index = place + 1;
        input = abi.encodeCall(
            meters.challengeCommitment, (proof, ADA_ACCOUNT, ada, Lists.openingOf(noList(), HOUR), last, nothing, slot)
        );
        lose(input, MerkleSum.IndexOutsideTree.selector);
    }

    // Commitments that are carried.

    struct Carried {
        Messages.Header previous;
        BalanceProof before;
        Commitments.Commitment[] listBefore;
        BalanceProof afterwards;
        Commitments.Commitment[] list;
    }

    function carry(
        ISettlement.HeaderProof memory proof,
        uint32 account,
        Carried memory told,
        uint64 product,
        Messages.Auction[] memory auctions,
        uint256 last
    ) private view returns (bytes memory) {
        return abi.encodeCall(
            meters.challengeCarriedCommitment,
            (
                proof,
                told.previous,
                account,
                told.before,
                Lists.openingOf(told.listBefore, product),
                told.afterwards,
                Lists.openingOf(told.list, product),
                product,
                proofOf(auctions, last),
                proofOf(auctions, last + 1)
            )
        );
    }

    function test_a_commitment_without_a_round_is_carried() public {
        Commitments.Commitment[] memory owed = listOf(HOUR, 320_000, 12_000);
        Messages.BalanceLeaf[] memory leaves = adas(owed, 368_000);
        ISettlement.HeaderProof memory first = grownOver(leaves, noAuctions());
        Messages.Auction[] memory list = withSpot(auctionOf(HOUR + 4096, 1, 0, 0, slotsOf(HOUR + 4096)));
        ISettlement.HeaderProof memory proof = grownOver(leaves, list);
        BalanceProof memory ada = proofOf(leaves, ADA_ACCOUNT);
        Carried memory told = Carried(first.header, ada, owed, ada, owed);
        lose(carry(proof, ADA_ACCOUNT, told, HOUR, list, 0), FINE);
        lose(carry(proof, 0, told, HOUR, list, 0), FINE);
        lose(carry(proof, ADA_ACCOUNT, told, HOUR + 1, list, 0), FINE);
        // A product with a round follows from its slots, and is not said to have none.
        lose(carry(proof, ADA_ACCOUNT, told, HOUR + 4096, list, 1), FINE);
        lose(carry(proof, ADA_ACCOUNT, told, HOUR + 4096, list, 0), STRANGERS);
        lose(carry(proof, BO_ACCOUNT, told, HOUR, list, 0), ELSEWHERE);
        // Another list, a leaf denied, another header before.
        told.list = noList();
        lose(carry(proof, ADA_ACCOUNT, told, HOUR, list, 0), FORGED);
        (told.list, told.listBefore) = (owed, noList());
        lose(carry(proof, ADA_ACCOUNT, told, HOUR, list, 0), FORGED);
        told.before.present = false;
        lose(carry(proof, ADA_ACCOUNT, told, HOUR, list, 0), ELSEWHERE);
        told.before.present = true;
        (told.listBefore, told.previous) = (owed, proof.header);
        lose(carry(proof, ADA_ACCOUNT, told, HOUR, list, 0), ELSEWHERE);
    }

    function test_a_commitment_out_of_nothing_voids_the_first_header() public {
        Commitments.Commitment[] memory owed = listOf(HOUR, 1, 0);
        Messages.BalanceLeaf[] memory leaves = adas(owed, 1);
        ISettlement.HeaderProof memory proof = grownOver(leaves, noAuctions());
        Carried memory told = Carried(noHeader(), noBalance(), noList(), proofOf(leaves, ADA_ACCOUNT), owed);
        bytes memory input = carry(proof, ADA_ACCOUNT, told, HOUR, noAuctions(), 0);
        win(input, 0, ISettlement.Lie.Commitment, uint8(Commitments.CommitmentFault.NotCarried));
        told.before = proofOf(leaves, ADA_ACCOUNT);
        lose(carry(proof, ADA_ACCOUNT, told, HOUR, noAuctions(), 0), ELSEWHERE);
        // Nothing is carried out of a header before the first.
        (told.before, told.listBefore) = (noBalance(), owed);
        lose(carry(proof, ADA_ACCOUNT, told, HOUR, noAuctions(), 0), FORGED);
    }

    function test_a_commitment_that_was_forgotten_voids() public {
        Commitments.Commitment[] memory owed = listOf(HOUR, 320_000, 12_000);
        Messages.BalanceLeaf[] memory before = adas(owed, 368_000);
        ISettlement.HeaderProof memory first = grownOver(before, noAuctions());
        Messages.BalanceLeaf[] memory leaves = new Messages.BalanceLeaf[](3);
        ISettlement.HeaderProof memory proof = grownOver(leaves, noAuctions());
        Carried memory told =
            Carried(first.header, proofOf(before, ADA_ACCOUNT), owed, proofOf(leaves, ADA_ACCOUNT), noList());
        bytes memory input = carry(proof, ADA_ACCOUNT, told, HOUR, noAuctions(), 0);
        win(input, 1, ISettlement.Lie.Commitment, uint8(Commitments.CommitmentFault.NotCarried));
    }

    /// @dev Sixty-four hours, each owing what is usual in a street: 20 kWh at 0.4 for the bid, 5 kWh at most so far.
    function streetOf(uint128 more) private pure returns (Commitments.Commitment[] memory list) {
        list = new Commitments.Commitment[](64);
        for (uint64 i = 0; i < 64; i++) {
            list[i] = Commitments.Commitment(HOUR + i * 4096, 32_123_456_789 + i, 2_123_456_789 + i);
        }
        list[63].bidNano += more;
    }

    /// @dev A tree in which every sibling of Ada has leaves.
    function crowdOf(Commitments.Commitment[] memory list) private pure returns (Messages.BalanceLeaf[] memory leaves) {
        leaves = new Messages.BalanceLeaf[](8);
        for (uint32 i = 0; i < 8; i++) {
            leaves[i] = Messages.BalanceLeaf(i, -1_234_567_890, i == 0 ? 0 : 1 << 50, Lists.hashOf(list));
        }
    }

    function roundsOf(uint32 round) private view returns (Messages.Auction[] memory list) {
        list = new Messages.Auction[](8);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, new Messages.Slot[](3));
        for (uint64 i = 1; i < 8; i++) {
            list[i] = auctionOf(HOUR + i * 4096 * 100, round, 0, 0, new Messages.Slot[](3));
        }
    }

    function test_sixty_four_commitments_are_carried_within_the_gas_of_a_challenge() public {
        isFull = true;
        Messages.BalanceLeaf[] memory before = crowdOf(streetOf(0));
        ISettlement.HeaderProof memory first = grownOver(before, roundsOf(1));
        Messages.BalanceLeaf[] memory leaves = crowdOf(streetOf(1));
        Messages.Auction[] memory list = roundsOf(2);
        ISettlement.HeaderProof memory proof = grownOver(leaves, list);
        Carried memory told =
            Carried(first.header, proofOf(before, ADA_ACCOUNT), streetOf(0), proofOf(leaves, ADA_ACCOUNT), streetOf(1));
        bytes memory input = carry(proof, ADA_ACCOUNT, told, HOUR + 63 * 4096 + 4096 * 100, list, 1);
        lose(input, FINE);
        input = carry(proof, ADA_ACCOUNT, told, HOUR + 63 * 4096, list, 0);
        win(input, 1, ISettlement.Lie.Commitment, uint8(Commitments.CommitmentFault.NotCarried));
        input = reserve(proof, proofOf(leaves, ADA_ACCOUNT), streetOf(1));
        win(input, 1, ISettlement.Lie.Reserve, uint8(Commitments.ReserveFault.WrongSum));
    }
}
