// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {SlotProof} from "../src/challenges/Proofs.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {RoundRules} from "../src/libraries/RoundRules.sol";
import {RoundCast} from "./RoundCast.sol";

/// @dev What the operator promised, or must carry because it stands on chain.
contract PromiseChallengesTest is RoundCast {
    // Orders on chain.

    /// @dev Ada's order on chain, a bid for the quarter-hour after next: its gate closes in the next.
    function forced() private returns (Messages.Bid memory bid) {
        VM.prank(ADA);
        uint256 orderId = trading.createOrder(500, 200, type(uint40).max, IEnergyTrading.OrderType.BUY);
        uint64 product = uint64(uint256(trading.intervalOf(orderId)) * 1024 + 1);
        bid = Messages.Bid(ADA_ACCOUNT, product, FORCED | uint32(orderId), 0, 500, 200, type(uint40).max);
        assertEq(trading.forcedBidHash(ADA_ACCOUNT, bid.version), Messages.hashStruct(bid));
    }

    function cancel(Messages.Bid memory bid) private {
        VM.prank(ADA);
        trading.cancelOrder((uint256(ADA_ACCOUNT) << 32) | (bid.version ^ FORCED));
    }

    function force(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        uint256 last,
        SlotProof memory slot,
        Messages.Bid memory bid
    ) private view returns (bytes memory) {
        return abi.encodeCall(rounds.challengeForced, (proof, proofOf(list, last), proofOf(list, last + 1), slot, bid));
    }

    function test_an_order_on_chain_stands_in_its_closing_round() public {
        trade();
        grown(listOf(auctionOf(HOUR, 1, 0, 0, noSlots())));
        Messages.Bid memory bid = forced();
        assertEq(bid.product, (FIRST + 2) * 1024 + 1);
        Messages.Slot[] memory slots = slotsOf(bid.product, bid.version, 0, 100);
        Messages.Auction[] memory list =
            listOf(auctionOf(bid.product, 1, 0, 0, slots), auctionOf(HOUR, 1, 0, 0, noSlots()));
        ISettlement.HeaderProof memory proof = grown(list);
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(force(proof, list, 1, slot, bid), FINE);
        // The closing round denied, another leaf, another order, another account's slot.
        lose(force(proof, list, 0, slot, bid), STRANGERS);
        lose(force(proof, list, 2, slot, bid), STRANGERS);
        lose(force(proof, list, 3, slot, bid), STRANGERS);
        lose(force(proof, list, 1, proofOf(slots, list[1], BO_ACCOUNT), bid), ELSEWHERE);
        bid.quantityWh += 1;
        lose(force(proof, list, 1, slot, bid), FORGED);
        (bid.quantityWh, bid.version) = (500, bid.version + 1);
        lose(force(proof, list, 1, slot, bid), FORGED);
        (bid.version, bid.account) = (bid.version - 1, BO_ACCOUNT);
        lose(force(proof, list, 1, slot, bid), FORGED);
        (bid.version, bid.account) = (1, ADA_ACCOUNT);
        lose(force(proof, list, 1, slot, bid), FORGED);
    }

    function test_an_order_is_only_asked_for_in_the_header_of_its_gate() public {
        trade();
        grown(listOf(auctionOf(HOUR, 1, 0, 0, noSlots())));
        Messages.Bid memory bid = forced();
        assertEq(bid.product, (FIRST + 2) * 1024 + 1);
        Messages.Auction[] memory list = listOf(auctionOf(HOUR, 2, 0, 0, noSlots()));
        ISettlement.HeaderProof memory proof = grown(list);
        // The gate closes in this header: without a round the order is ignored.
        uint8 missing = uint8(RoundRules.ForcedFault.RoundMissing);
        win(force(proof, list, 0, nobody(), bid), 1, ISettlement.Lie.Forced, missing);
        Messages.Bid memory next = forced();
        assertTrue(next.product > bid.product);
        lose(force(proof, list, 0, nobody(), next), FINE);
    }

    function test_an_ignored_order_voids() public {
        trade();
        grown(listOf(auctionOf(HOUR, 1, 0, 0, noSlots())));
        Messages.Bid memory bid = forced();
        Messages.Slot[] memory slots = slotsOf(bid.product, 9, 0, 100);
        Messages.Auction[] memory list = listOf(auctionOf(bid.product, 1, 0, 0, slots));
        ISettlement.HeaderProof memory proof = grown(list);
        uint8 ignored = uint8(RoundRules.ForcedFault.Ignored);
        win(force(proof, list, 1, proofOf(slots, list[1], ADA_ACCOUNT), bid), 1, ISettlement.Lie.Forced, ignored);
        // Cancelled after the round it is still asked for, before the round no more.
        VM.warp(list[1].clearedAtS + 1);
        uint64 late = uint64(block.timestamp);
        cancel(bid);
        assertEq(trading.closedAt(ADA_ACCOUNT, bid.version), late);
        win(force(proof, list, 1, proofOf(slots, list[1], ADA_ACCOUNT), bid), 1, ISettlement.Lie.Forced, ignored);
    }

    function test_the_first_header_may_begin_after_a_gate() public {
        trade();
        Messages.Bid memory bid = forced();
        Messages.Auction[] memory list = listOf(auctionOf(HOUR, 1, 0, 0, noSlots()));
        lose(force(grown(list), list, 0, nobody(), bid), FINE);
    }

    function test_an_order_cancelled_in_time_is_not_asked_for() public {
        trade();
        Messages.Bid memory bid = forced();
        cancel(bid);
        Messages.Slot[] memory slots = slotsOf(bid.product, 9, 0, 100);
        Messages.Auction[] memory list = listOf(auctionOf(bid.product, 1, 0, 0, slots));
        ISettlement.HeaderProof memory proof = grown(list);
        lose(force(proof, list, 1, proofOf(slots, list[1], ADA_ACCOUNT), bid), FINE);
        // Neither without a closing round.
        Messages.Bid memory second = forced();
        cancel(second);
        list = listOf(auctionOf(HOUR, 1, 0, 0, noSlots()));
        proof = grown(list);
        lose(force(proof, list, 0, nobody(), second), FINE);
    }

    function test_a_withdrawn_order_may_be_retired_but_not_filled() public {
        trade();
        Messages.Bid memory bid = forced();
        Messages.Bid memory open = forced();
        cancel(bid);
        Messages.Slot[] memory slots = retiredOf(bid.product, bid.version);
        // The standing one, retired all the same, in another round; and the withdrawn one, filled too late.
        Messages.Slot[] memory dropped = retiredOf(bid.product, open.version);
        Messages.Slot[] memory used = slotsOf(bid.product, bid.version, 0, 100);
        Messages.Auction[] memory list = new Messages.Auction[](5);
        list[0] = spot();
        list[1] = auctionOf(bid.product, 1, 0, 0, slots);
        list[2] = auctionOf(bid.product, 2, 0, 0, dropped);
        list[3] = auctionOf(bid.product, 59, 0, 0, used);
        list[4] = auctionOf(bid.product, 60, 0, 0, used);
        ISettlement.HeaderProof memory proof = grown(list);
        lose(carry(proof, list, slots, list[1], nobody()), FINE);
        bytes memory input = abi.encodeCall(
            rounds.challengeCarry,
            (proof, proofOf(list, 2), proofOf(dropped, list[2], ADA_ACCOUNT), list[1], nobody(), ADA_ACCOUNT)
        );
        win(input, 0, ISettlement.Lie.Carry, uint8(RoundRules.CarryFault.Retired));
        // A chain's news take a minute.
        uint8 fault = uint8(RoundRules.ForcedFault.WithdrawnUsed);
        SlotProof memory slot = proofOf(used, list[3], ADA_ACCOUNT);
        lose(withdrawn(proof, list, 3, slot), FINE);
        slot = proofOf(used, list[4], ADA_ACCOUNT);
        input = withdrawn(proof, list, 4, slot);
        win(input, 0, ISettlement.Lie.Forced, fault);
        // Retired means not filled; no slot, a signed bid and a standing order were not withdrawn.
        slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(withdrawn(proof, list, 1, slot), FINE);
        slot = proofOf(slots, list[1], BO_ACCOUNT);
        lose(withdrawn(proof, list, 1, slot), FINE);
        slot = proofOf(dropped, list[2], ADA_ACCOUNT);
        lose(withdrawn(proof, list, 2, slot), FINE);
    }

    function test_versions_in_spot_rounds_are_no_orders_on_chain() public {
        trade();
        Messages.Bid memory bid = forced();
        cancel(bid);
        Messages.Slot[] memory slots = slotsOf(1025, bid.version, 0, 100);
        Messages.Auction[] memory list = listOf(auctionOf(1025, 0xFFFF, 2, 0, slots));
        ISettlement.HeaderProof memory proof = grown(list);
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(withdrawn(proof, list, 1, slot), FINE);
        lose(retired(proof, list, 1, slot, bid), FINE);
    }

    function test_a_slot_retired_under_another_products_order_voids() public {
        trade();
        grown(listOf(auctionOf(HOUR, 1, 0, 0, noSlots())));
        Messages.Bid memory bid = forced();
        VM.warp(block.timestamp + 900);
        Messages.Bid memory other = forced();
        cancel(other);
        assertTrue(bid.product < other.product);
        Messages.Slot[] memory slots = retiredOf(bid.product, other.version);
        Messages.Slot[] memory honest = retiredOf(other.product, other.version);
        Messages.Slot[] memory open = slotsOf(HOUR, other.version, 0, 0);
        Messages.Auction[] memory list = new Messages.Auction[](4);
        list[0] = spot();
        list[1] = auctionOf(bid.product, 899, 0, 0, slots);
        list[2] = auctionOf(other.product, 899, 0, 0, honest);
        list[3] = auctionOf(HOUR, 899, 0, 0, open);
        ISettlement.HeaderProof memory proof = grown(list);
        // It hides the order that stands: the version is newer.
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(force(proof, list, 1, slot, bid), FINE);
        uint8 fault = uint8(RoundRules.ForcedFault.AnotherProduct);
        bytes memory input = retired(proof, list, 1, slot, other);
        win(input, 1, ISettlement.Lie.Forced, fault);
        lose(retired(proof, list, 1, slot, bid), FORGED);
        slot = proofOf(honest, list[2], ADA_ACCOUNT);
        lose(retired(proof, list, 2, slot, other), FINE);
        // A slot that is not retired is judged by its signature.
        slot = proofOf(open, list[3], ADA_ACCOUNT);
        lose(retired(proof, list, 3, slot, other), FINE);
        other.quantityWh += 1;
        slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(retired(proof, list, 1, slot, other), FORGED);
    }

    function test_where_nothing_trades_on_chain_nothing_is_forced_or_withdrawn() public {
        Messages.Slot[] memory slots = slotsOf(HOUR, FORCED | 1, 0, 100);
        Messages.Auction[] memory list = listOf(auctionOf(HOUR, 1, 0, 0, slots));
        ISettlement.HeaderProof memory proof = grown(list);
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(withdrawn(proof, list, 1, slot), FINE);
        Messages.Bid memory bid;
        lose(force(proof, list, 1, slot, bid), FORGED);
        lose(carry(proof, list, slots, list[1], nobody()), FINE);
    }

    // Promises.

    function test_a_receipt_that_is_kept_binds_nobody_further() public {
        Messages.Slot[] memory slots = slotsOf(HOUR, 7, 0, 100);
        Messages.Auction[] memory list = listOf(auctionOf(HOUR, 1, 0, 0, slots));
        Messages.Receipt memory receipt =
            Messages.Receipt(ADA_ACCOUNT, HOUR, 7, RoundRules.bidHash(slots[ADA_ACCOUNT]), 1, list[1].clearedAtS);
        ISettlement.HeaderProof memory proof = grown(list);
        bytes memory signature = signedBy(OPERATOR_KEY, Messages.hashStruct(receipt));
        SlotProof memory slot = proofOf(slots, list[1], ADA_ACCOUNT);
        lose(promised(proof, list, 1, slot, receipt, signature), FINE);
        SlotProof memory bo = proofOf(slots, list[1], BO_ACCOUNT);
        lose(promised(proof, list, 1, bo, receipt, signature), ELSEWHERE);
        // Nobody but the operator gives receipts.
        receipt.account = BO_ACCOUNT;
        lose(promised(proof, list, 1, bo, receipt, signature), FORGED);
        signature = signedBy(BO_KEY, Messages.hashStruct(receipt));
        lose(promised(proof, list, 1, bo, receipt, signature), FORGED);
        lose(promised(proof, list, 2, bo, receipt, signature), FINE);
    }

    function test_a_broken_receipt_voids() public {
        Messages.Slot[] memory slots = slotsOf(HOUR, 7, 0, 100);
        Messages.Auction[] memory list = listOf(auctionOf(HOUR, 1, 0, 0, slots));
        ISettlement.HeaderProof memory proof = grown(list);
        for (uint256 fault = 1; fault <= uint256(RoundRules.ReceiptFault.Altered); fault++) {
            uint32 account = fault == 1 ? BO_ACCOUNT : ADA_ACCOUNT;
            Messages.Receipt memory receipt =
                Messages.Receipt(account, HOUR, fault == 2 ? 8 : 7, bytes32(0), 1, list[1].clearedAtS);
            bytes memory signature = signedBy(OPERATOR_KEY, Messages.hashStruct(receipt));
            SlotProof memory slot = proofOf(slots, list[1], account);
            bytes memory input = promised(proof, list, 1, slot, receipt, signature);
            win(input, 0, ISettlement.Lie.Receipt, uint8(fault));
        }
    }

    function standing(
        ISettlement.HeaderProof memory proof,
        Messages.Auction[] memory list,
        SlotProof memory slot,
        Messages.Receipt memory receipt,
        Messages.StandingOrder memory limits
    ) private view returns (bytes memory) {
        bytes memory signature = signedBy(OPERATOR_KEY, Messages.hashStruct(receipt));
        return
            abi.encodeCall(rounds.challengeStandingReceipt, (proof, proofOf(list, 0), slot, receipt, signature, limits));
    }

    function test_a_spot_round_stands_at_the_newest_receipted_standing_order() public {
        uint64 startsAtS = (FIRST - GRACE) * 900;
        Messages.StandingOrder memory limits = Messages.StandingOrder(ADA_ACCOUNT, 7, 200, 100, startsAtS, 0);
        Messages.Slot[] memory slots = slotsOf(1025, 6, 0, 100);
        Messages.Auction[] memory list = new Messages.Auction[](1);
        list[0] = auctionOf(1025, 0xFFFF, 2, 0, slots);
        Messages.Receipt memory receipt =
            Messages.Receipt(ADA_ACCOUNT, 0, 7, Messages.hashStruct(limits), 0, list[0].clearedAtS);
        ISettlement.HeaderProof memory proof = grown(list);
        SlotProof memory slot = proofOf(slots, list[0], ADA_ACCOUNT);
        bytes memory input = standing(proof, list, slot, receipt, limits);
        win(input, 0, ISettlement.Lie.Receipt, uint8(RoundRules.ReceiptFault.Stale));
        receipt.version = 6;
        lose(standing(proof, list, slot, receipt, limits), FINE);
        (receipt.version, receipt.product) = (7, HOUR);
        lose(standing(proof, list, slot, receipt, limits), FINE);
        (receipt.product, receipt.clearsAtS) = (0, list[0].clearedAtS + 1);
        lose(standing(proof, list, slot, receipt, limits), FINE);
        receipt.clearsAtS = 0;
        limits.validFromS += 1;
        lose(standing(proof, list, slot, receipt, limits), FORGED);
        receipt.bidHash = Messages.hashStruct(limits);
        lose(standing(proof, list, slot, receipt, limits), FINE);
        // No slot, no deviation: nothing to stand at a limit.
        (receipt.account, limits.validFromS) = (BO_ACCOUNT, 0);
        receipt.bidHash = Messages.hashStruct(limits);
        lose(standing(proof, list, proofOf(slots, list[0], BO_ACCOUNT), receipt, limits), FINE);
        lose(standing(proof, list, slot, receipt, limits), ELSEWHERE);
        bytes memory unsigned = abi.encodeCall(
            rounds.challengeStandingReceipt,
            (proof, proofOf(list, 0), proofOf(slots, list[0], BO_ACCOUNT), receipt, "", limits)
        );
        lose(unsigned, FORGED);
    }

    function test_a_shared_spot_round_knows_no_standing_orders() public {
        Messages.Slot[] memory slots = slotsOf(1025, 6, 0, 100);
        Messages.StandingOrder memory limits = Messages.StandingOrder(ADA_ACCOUNT, 7, 200, 100, 0, 0);
        Messages.Auction[] memory list = new Messages.Auction[](1);
        list[0] = auctionOf(1025, 0xFFFF, 1, 0, slots);
        Messages.Receipt memory receipt = Messages.Receipt(ADA_ACCOUNT, 0, 7, Messages.hashStruct(limits), 0, 0);
        lose(standing(grown(list), list, proofOf(slots, list[0], ADA_ACCOUNT), receipt, limits), FINE);
    }
}
