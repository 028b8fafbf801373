// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AuctionProof, BalanceProof, MeterProof, SlotProof} from "../src/challenges/Proofs.sol";
import {DemandBook, Question} from "../src/challenges/demands/DemandBook.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Commitments} from "../src/libraries/Commitments.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {DemandCast} from "./DemandCast.sol";
import {Lists} from "./Lists.sol";

/// @dev Every question about leaves and the hashes within them.
contract LeafDemandsTest is DemandCast {
    bytes internal wrongEvidence = abi.encodeWithSignature("WrongEvidence()");
    bytes internal notInTree = abi.encodeWithSignature("NotInTree()");
    bytes internal nothingToAsk = abi.encodeWithSelector(DemandBook.NothingToAsk.selector);
    uint32 internal constant ACCOUNT = 1 << 19 | 5;

    function test_an_auction_is_shown_at_its_leaf() public {
        (ISettlement.HeaderProof memory proof, AuctionProof memory shown) = posted(auctionOf(PRODUCT, 7, emptyRoot()));
        uint256 id = demands.demand(proof, Question.Auction, noAuction, uint32(PLACE));
        AuctionProof memory other = shown;
        other.auction.volumeWh = 1;
        VM.expectRevert(notInTree);
        demands.answerAuction(id, proof, other);
        other.auction.volumeWh = 0;
        send(abi.encodeCall(demands.answerAuction, (id, proof, shown)));
        VM.expectRevert(nothingToAsk);
        demands.demand(proof, Question.Auction, noAuction, 4_096);
        shown.index = PLACE + 1;
        id = demands.demand(proof, Question.Auction, noAuction, uint32(PLACE));
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.answerAuction(id, proof, shown);
    }

    function test_an_empty_leaf_is_an_answer() public {
        ISettlement.HeaderProof memory proof = postBy(blank());
        AuctionProof memory none = AuctionProof(false, noAuction.auction, 0, emptyPath());
        demands.answerAuction(demands.demand(proof, Question.Auction, noAuction, 0), proof, none);
        MeterProof memory meter;
        meter.path = emptyPath();
        demands.answerMeter(demands.demand(proof, Question.Meter, noAuction, 7), proof, 7, meter);
        BalanceProof memory balance;
        balance.path = emptyPath();
        demands.answerBalance(demands.demand(proof, Question.Balance, noAuction, 7), proof, 7, balance);
        Messages.SettlementReading memory reading;
        demands.answerReading(demands.demand(proof, Question.Reading, noAuction, 7), proof, 7, meter, reading, "");
        Commitments.Commitment[] memory list;
        uint256 id = demands.demand(proof, Question.Commitments, noAuction, 7);
        demands.answerCommitments(id, proof, 7, balance, list);
        assertEq(token.balanceOf(address(demands)), 0);
    }

    function test_accounts_beyond_the_tree_and_questions_of_another_kind_are_not_asked() public {
        ISettlement.HeaderProof memory proof = postBy(blank());
        for (uint8 number = 1; number < 8; number++) {
            VM.expectRevert(nothingToAsk);
            demands.demand(proof, Question(number), noAuction, 1 << 20);
        }
        for (uint8 number = 8; number < 11; number++) {
            VM.expectRevert(nothingToAsk);
            demands.demand(proof, Question(number), noAuction, 1);
        }
        Question[3] memory ofAuctions = [Question.Slot, Question.Signature, Question.Previous];
        for (uint256 i = 0; i < 3; i++) {
            VM.expectRevert(nothingToAsk);
            demands.demand(proof, ofAuctions[i], noAuction, 1);
        }
        VM.expectRevert(notInTree);
        demands.demand(proof, Question.Slot, AuctionProof(true, noAuction.auction, 1, emptyPath()), 1);
    }

    function test_a_slot_is_shown_under_the_auction_that_was_asked_about() public {
        SlotProof memory slot = SlotProof(true, slotOf(ACCOUNT, bytes32(uint256(1))), "");
        (ISettlement.HeaderProof memory proof, AuctionProof memory auction) = slotted(0, slot, ACCOUNT);
        uint256 id = demands.demand(proof, Question.Slot, auction, ACCOUNT);
        Messages.Auction memory other = abi.decode(abi.encode(auction.auction), (Messages.Auction));
        other.price = 1;
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.answerSlot(id, proof, other, ACCOUNT, slot);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.answerSlot(id, proof, auction.auction, ACCOUNT + 1, slot);
        slot.slot.fillWh = 0;
        VM.expectRevert(notInTree);
        demands.answerSlot(id, proof, auction.auction, ACCOUNT, slot);
        slot.slot.fillWh = 1_500;
        send(abi.encodeCall(demands.answerSlot, (id, proof, auction.auction, ACCOUNT, slot)));
    }

    function test_an_account_without_a_slot_has_none_to_show() public {
        SlotProof memory slot;
        (ISettlement.HeaderProof memory proof, AuctionProof memory auction) = slotted(0, slot, ACCOUNT);
        uint256 id = demands.demand(proof, Question.Slot, auction, ACCOUNT);
        demands.answerSlot(id, proof, auction.auction, ACCOUNT, slot);
        id = demands.demand(proof, Question.Signature, auction, ACCOUNT);
        demands.answerSignature(id, proof, auction.auction, ACCOUNT, slot, "");
    }

    function test_a_bids_signature_is_the_one_that_the_slot_commits_to() public {
        bytes memory signature = new bytes(65);
        SlotProof memory slot = SlotProof(true, slotOf(ACCOUNT, keccak256(signature)), "");
        (ISettlement.HeaderProof memory proof, AuctionProof memory auction) = slotted(0, slot, ACCOUNT);
        uint256 id = demands.demand(proof, Question.Signature, auction, ACCOUNT);
        VM.expectRevert(wrongEvidence);
        demands.answerSignature(id, proof, auction.auction, ACCOUNT, slot, "");
        VM.expectRevert(wrongEvidence);
        demands.answerSignature(id, proof, auction.auction, ACCOUNT, slot, bytes.concat(new bytes(64), hex"01"));
        Messages.StandingOrder memory order;
        VM.expectRevert(wrongEvidence);
        demands.answerStanding(id, proof, auction.auction, ACCOUNT, slot, order, signature);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.answerSlot(id, proof, auction.auction, ACCOUNT, slot);
        send(abi.encodeCall(demands.answerSignature, (id, proof, auction.auction, ACCOUNT, slot, signature)));
    }

    function test_where_a_slot_carries_no_signature_the_slot_answers() public {
        Messages.Slot[3] memory slots =
            [slotOf(ACCOUNT, bytes32(0)), slotOf(ACCOUNT, bytes32(uint256(1))), slotOf(ACCOUNT, bytes32(uint256(1)))];
        slots[1].version = FORCED | 1;
        // A deviation in a shared spot round is nobody's bid.
        uint8[3] memory rules = [0, 0, 1];
        for (uint256 i = 0; i < 3; i++) {
            SlotProof memory slot = SlotProof(true, slots[i], "");
            (ISettlement.HeaderProof memory proof, AuctionProof memory auction) = slotted(rules[i], slot, ACCOUNT);
            uint256 id = demands.demand(proof, Question.Signature, auction, ACCOUNT);
            demands.answerSignature(id, proof, auction.auction, ACCOUNT, slot, "");
        }
    }

    function test_a_standing_order_is_shown_whole() public {
        Messages.StandingOrder memory order = Messages.StandingOrder(ACCOUNT, 3, 210_000, 100, 0, 0);
        bytes memory signature = sign(ADA_KEY, Messages.hashStruct(order));
        bytes memory hashes = abi.encodePacked(Messages.hashStruct(order), keccak256(signature));
        SlotProof memory slot = SlotProof(true, slotOf(ACCOUNT, keccak256(hashes)), "");
        (ISettlement.HeaderProof memory proof, AuctionProof memory auction) = slotted(2, slot, ACCOUNT);
        uint256 id = demands.demand(proof, Question.Signature, auction, ACCOUNT);
        // The hashes alone would tell nobody what was ordered.
        VM.expectRevert(wrongEvidence);
        demands.answerSignature(id, proof, auction.auction, ACCOUNT, slot, hashes);
        order.maxBuyPrice = 0;
        VM.expectRevert(wrongEvidence);
        demands.answerStanding(id, proof, auction.auction, ACCOUNT, slot, order, signature);
        order.maxBuyPrice = 210_000;
        send(abi.encodeCall(demands.answerStanding, (id, proof, auction.auction, ACCOUNT, slot, order, signature)));
    }

    function test_a_home_without_a_standing_order_has_its_slot_alone() public {
        SlotProof memory slot = SlotProof(true, slotOf(ACCOUNT, bytes32(0)), "");
        Messages.StandingOrder memory order;
        (ISettlement.HeaderProof memory proof, AuctionProof memory auction) = slotted(2, slot, ACCOUNT);
        uint256 id = demands.demand(proof, Question.Signature, auction, ACCOUNT);
        VM.expectRevert(wrongEvidence);
        demands.answerStanding(id, proof, auction.auction, ACCOUNT, slot, order, "");
        demands.answerSignature(id, proof, auction.auction, ACCOUNT, slot, "");
        SlotProof memory none;
        (proof, auction) = slotted(2, none, ACCOUNT);
        id = demands.demand(proof, Question.Signature, auction, ACCOUNT);
        VM.expectRevert(wrongEvidence);
        demands.answerStanding(id, proof, auction.auction, ACCOUNT, none, order, "");
        demands.answerSignature(id, proof, auction.auction, ACCOUNT, none, "");
    }

    function test_a_reading_is_shown_with_its_signature() public {
        Messages.SettlementReading memory reading;
        (reading.account, reading.interval, reading.importWh) = (ACCOUNT, FIRST, 77_777);
        bytes memory signature = sign(ADA_KEY, Messages.hashStruct(reading));
        Messages.MeterLeaf memory leaf;
        leaf.account = ACCOUNT;
        leaf.readingHash = keccak256(abi.encodePacked(Messages.hashStruct(reading), keccak256(signature)));
        (ISettlement.HeaderProof memory proof, MeterProof memory meter) = metered(leaf);
        uint256 id = demands.demand(proof, Question.Reading, noAuction, ACCOUNT);
        reading.importWh++;
        VM.expectRevert(wrongEvidence);
        demands.answerReading(id, proof, ACCOUNT, meter, reading, signature);
        reading.importWh--;
        meter.leaf.deviationWh = 1;
        VM.expectRevert(notInTree);
        demands.answerReading(id, proof, ACCOUNT, meter, reading, signature);
        meter.leaf.deviationWh = 0;
        send(abi.encodeCall(demands.answerReading, (id, proof, ACCOUNT, meter, reading, signature)));
        id = demands.demand(proof, Question.Meter, noAuction, ACCOUNT);
        send(abi.encodeCall(demands.answerMeter, (id, proof, ACCOUNT, meter)));
    }

    function test_an_account_that_was_never_read_has_no_reading_to_show() public {
        Messages.MeterLeaf memory leaf;
        leaf.account = ACCOUNT;
        Messages.SettlementReading memory reading;
        (ISettlement.HeaderProof memory proof, MeterProof memory meter) = metered(leaf);
        uint256 id = demands.demand(proof, Question.Reading, noAuction, ACCOUNT);
        demands.answerReading(id, proof, ACCOUNT, meter, reading, "");
    }

    function test_the_round_before_is_shown_in_another_header_or_the_same() public {
        Messages.Auction memory before = auctionOf(PRODUCT, 6, emptyRoot());
        (ISettlement.HeaderProof memory earlier, AuctionProof memory shown) = posted(before);
        VM.expectRevert(nothingToAsk);
        demands.demand(earlier, Question.Previous, shown, 0);
        Messages.Auction memory auction = auctionOf(PRODUCT, 7, emptyRoot());
        auction.previous = Messages.hashStruct(before);
        (ISettlement.HeaderProof memory proof, AuctionProof memory asked) = posted(auction);
        // The number of an account says nothing here.
        uint256 id = demands.demand(proof, Question.Previous, asked, 5);
        VM.expectRevert(wrongEvidence);
        demands.answerPrevious(id, proof, auction, proof, asked);
        VM.expectRevert(notInTree);
        demands.answerPrevious(id, proof, auction, proof, shown);
        shown.present = false;
        VM.expectRevert(wrongEvidence);
        demands.answerPrevious(id, proof, auction, earlier, shown);
        shown.present = true;
        earlier.index = 5;
        VM.expectPartialRevert(ISettlement.UnknownHeader.selector);
        demands.answerPrevious(id, proof, auction, earlier, shown);
        earlier.index = 0;
        // The latest demand, answered in its last second, when the round before is final.
        VM.warp(uint256(settlement.postedAt(1)) + WINDOW_S - 2 * ANSWER_S);
        id = demands.demand(proof, Question.Previous, asked, 0);
        VM.warp(uint256(settlement.postedAt(0)) + WINDOW_S);
        settlement.finalise(earlier);
        assertEq(demands.demandOf(id).deadlineS, now_());
        send(abi.encodeCall(demands.answerPrevious, (id, proof, auction, earlier, shown)));
    }

    function test_a_balance_and_the_list_behind_its_reserve_are_shown() public {
        Commitments.Commitment[] memory list = new Commitments.Commitment[](64);
        for (uint256 i = 0; i < 64; i++) {
            list[i] = Commitments.Commitment(uint64(PRODUCT + 1024 * i), 1e12, 1e12);
        }
        Messages.BalanceLeaf memory leaf = Messages.BalanceLeaf(ACCOUNT, -5e9, 128e12, Lists.hashOf(list));
        (ISettlement.HeaderProof memory proof, BalanceProof memory balance) = balanced(leaf);
        uint256 id = demands.demand(proof, Question.Balance, noAuction, ACCOUNT);
        send(abi.encodeCall(demands.answerBalance, (id, proof, ACCOUNT, balance)));
        id = demands.demand(proof, Question.Commitments, noAuction, ACCOUNT);
        list[63].bidNano++;
        VM.expectRevert(wrongEvidence);
        demands.answerCommitments(id, proof, ACCOUNT, balance, list);
        list[63].bidNano--;
        VM.expectRevert(wrongEvidence);
        demands.answerCommitments(id, proof, ACCOUNT, balance, new Commitments.Commitment[](65));
        send(abi.encodeCall(demands.answerCommitments, (id, proof, ACCOUNT, balance, list)));
    }
}
