// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ClearingChallenges} from "../src/challenges/ClearingChallenges.sol";
import {AuctionProof, SlotProof} from "../src/challenges/Proofs.sol";
import {IForcedBids} from "../src/interfaces/IForcedBids.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {ClearingRules} from "../src/libraries/ClearingRules.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {RoundRules} from "../src/libraries/RoundRules.sol";
import {ClearingCast} from "./ClearingCast.sol";

/// @dev One order on chain, whose hash a test chooses.
contract OneOrder is IForcedBids {
    bytes32 private immutable _hash;

    constructor(bytes32 hash) {
        _hash = hash;
    }

    function forcedBidHash(uint32 account, uint32 version) external view returns (bytes32) {
        return account == 1 && version == (1 << 31) + 1 ? _hash : bytes32(0);
    }

    function closedAt(uint32, uint32) external pure returns (uint64) {
        return 0;
    }

    function inclusionDelayS() external pure returns (uint64) {
        return 0;
    }
}

/// @dev Lies in fills, signatures and limits.
contract SlotChallengesTest is ClearingCast {
    // Lies in fills, signatures and limits.

    function slotsWith(Messages.Slot memory slot) private pure returns (Messages.Slot[] memory slots) {
        slots = new Messages.Slot[](4);
        slots[slot.account] = slot;
    }

    /// @dev Ada buys 500 Wh better than the price.
    function adas() private pure returns (Messages.Slot memory slot) {
        (slot.account, slot.product, slot.version) = (ADA_ACCOUNT, HOUR, 1);
        (slot.quantityWh, slot.fillWh, slot.limitPrice, slot.expiryS) = (500, 500, PRICE + 1, type(uint40).max);
    }

    /// @dev Posts a header with one auction over these slots, and what shows the slot of `account`.
    function published(Messages.Slot[] memory slots, Messages.Auction memory auction, uint32 account)
        private
        returns (ISettlement.HeaderProof memory proof, AuctionProof memory place, SlotProof memory shown)
    {
        Messages.Auction[] memory auctions = new Messages.Auction[](2);
        auctions[1] = auction;
        proof = grown(auctions);
        place = proofOf(auctions, 1);
        shown = proofOf(slots, auction, account);
    }

    function judgeFill(Messages.Slot[] memory slots, Messages.Auction memory auction, uint32 account, uint8 fault)
        private
    {
        (ISettlement.HeaderProof memory proof, AuctionProof memory place, SlotProof memory shown) =
            published(slots, auction, account % 8);
        bytes memory input = abi.encodeCall(clearing.challengeFill, (proof, place, account, shown));
        if (fault == 0) assertRefused(address(clearing), input, FINE);
        else assertVoid(address(clearing), input, proof.index, ISettlement.Lie.Fill, fault);
    }

    function test_a_fill_is_the_rules_behind_those_that_stand_before() public {
        Messages.Slot[] memory slots = slotsWith(adas());
        Messages.Auction memory auction = auctionOf(HOUR, 1, 0, 0, slots);
        (auction.loAccount, auction.hiAccount) = (5, 6);
        judgeFill(slots, auction, ADA_ACCOUNT, 0);
        slots[ADA_ACCOUNT].fillWh = 499;
        auction = auctionOf(HOUR, 1, 0, 0, slots);
        judgeFill(slots, auction, ADA_ACCOUNT, uint8(ClearingRules.SlotFault.WrongFill));
        // Bo stands behind Ada at the price: 300 of 400 Wh are given, (300*200/400 = 150, then 150).
        slots[ADA_ACCOUNT].limitPrice = PRICE;
        (slots[ADA_ACCOUNT].quantityWh, slots[ADA_ACCOUNT].fillWh) = (200, 150);
        slots[BO_ACCOUNT] = slots[ADA_ACCOUNT];
        slots[BO_ACCOUNT].account = BO_ACCOUNT;
        auction = auctionOf(HOUR, 1, 0, 0, slots);
        (auction.marginalWh, auction.rationedWh) = (400, 300);
        (auction.loAccount, auction.hiAccount) = (5, 6);
        judgeFill(slots, auction, BO_ACCOUNT, 0);
        slots[BO_ACCOUNT].fillWh = 151;
        auction = auctionOf(HOUR, 1, 0, 0, slots);
        (auction.marginalWh, auction.rationedWh) = (400, 300);
        judgeFill(slots, auction, BO_ACCOUNT, uint8(ClearingRules.SlotFault.WrongFill));
    }

    function test_the_slot_named_for_a_bound_exists() public {
        Messages.Slot[] memory slots = slotsWith(adas());
        Messages.Auction memory auction = auctionOf(HOUR, 1, 0, 0, slots);
        (auction.loAccount, auction.hiAccount) = (5, 1 << 21);
        judgeFill(slots, auction, 5, uint8(ClearingRules.SlotFault.NotAtLo));
        judgeFill(slots, auctionAgain(auction), 1 << 21, uint8(ClearingRules.SlotFault.NotAtHi));
        judgeFill(slots, auctionAgain(auction), 6, 0);
        auction.loAccount = ClearingRules.NO_ACCOUNT;
        judgeFill(slots, auctionAgain(auction), ClearingRules.NO_ACCOUNT, 0);
        (auction.rule, auction.loAccount) = (ClearingRules.SPOT_SHARED, 5);
        judgeFill(slots, auctionAgain(auction), 5, 0);
    }

    /// @dev The same auction in the next header.
    function auctionAgain(Messages.Auction memory auction) private view returns (Messages.Auction memory) {
        auction.clearedAtS = (settlement.tipInterval() + 1) * 900;
        return auction;
    }

    function test_a_slot_that_exists_cannot_be_denied() public {
        Messages.Slot[] memory slots = slotsWith(adas());
        Messages.Auction memory auction = auctionOf(HOUR, 1, 0, 0, slots);
        auction.loAccount = ADA_ACCOUNT;
        (ISettlement.HeaderProof memory proof, AuctionProof memory place, SlotProof memory shown) =
            published(slots, auction, ADA_ACCOUNT);
        shown.present = false;
        bytes memory input = abi.encodeCall(clearing.challengeFill, (proof, place, ADA_ACCOUNT, shown));
        assertRefused(address(clearing), input, ELSEWHERE);
        shown.present = true;
        input = abi.encodeCall(clearing.challengeFill, (proof, place, BO_ACCOUNT, shown));
        assertRefused(address(clearing), input, ELSEWHERE);
    }

    function judgeSignature(Messages.Slot memory slot, uint8 rule, bytes memory signature, bytes4 refusal, uint8 fault)
        private
    {
        Messages.Slot[] memory slots = slotsWith(slot);
        (ISettlement.HeaderProof memory proof, AuctionProof memory place, SlotProof memory shown) =
            published(slots, auctionOf(HOUR, 1, rule, 0, slots), ADA_ACCOUNT);
        bytes memory input = abi.encodeCall(clearing.challengeSignature, (proof, place, shown, signature));
        if (fault == 0) assertRefused(address(clearing), input, refusal);
        else assertVoid(address(clearing), input, proof.index, ISettlement.Lie.Signature, fault);
    }

    function test_every_bid_is_signed_by_its_home_and_so_is_its_cancellation() public {
        Messages.Slot memory slot = adas();
        uint8 unsigned = uint8(ClearingChallenges.SignatureFault.Unsigned);
        uint8 notByKey = uint8(ClearingChallenges.SignatureFault.NotByKey);
        for (uint256 i = 0; i < 2; i++) {
            judgeSignature(slot, 0, "", FINE, unsigned);
            bytes memory signature = signedBy(ADA_KEY, RoundRules.bidHash(slot));
            slot.signatureHash = keccak256(signature);
            judgeSignature(slot, 0, signature, FINE, 0);
            judgeSignature(slot, 0, "another", FORGED, 0);
            judgeSignature(slot, 1, signature, FINE, 0);
            slot.limitPrice += 1;
            judgeSignature(slot, 0, signature, FINE, notByKey);
            signature = signedBy(BO_KEY, RoundRules.bidHash(slot));
            slot.signatureHash = keccak256(signature);
            judgeSignature(slot, 0, signature, FINE, notByKey);
            // Once more with the bid that cancels.
            (slot.quantityWh, slot.fillWh, slot.signatureHash) = (0, 0, bytes32(0));
        }
    }

    function test_a_forced_bid_is_the_one_on_chain_and_a_retired_one_is_none() public {
        Messages.Slot memory slot = adas();
        slot.version = FORCED + 1;
        uint8 notForced = uint8(ClearingChallenges.SignatureFault.NotTheForcedBid);
        judgeSignature(slot, 0, "", FINE, notForced);
        address orders = address(new OneOrder(RoundRules.bidHash(slot)));
        VM.prank(GOVERNANCE);
        settlement.setTrading(orders);
        judgeSignature(slot, 0, "", FINE, 0);
        slot.version += 1;
        judgeSignature(slot, 0, "", FINE, notForced);
        (slot.quantityWh, slot.fillWh) = (0, 0);
        judgeSignature(slot, 0, "", FINE, 0);
    }

    function test_without_a_slot_nothing_is_unsigned() public {
        Messages.Slot[] memory slots = slotsWith(adas());
        (ISettlement.HeaderProof memory proof, AuctionProof memory place, SlotProof memory shown) =
            published(slots, auctionOf(HOUR, 1, 0, 0, slots), BO_ACCOUNT);
        bytes memory input = abi.encodeCall(clearing.challengeSignature, (proof, place, shown, ""));
        assertRefused(address(clearing), input, FINE);
        Messages.StandingOrder memory order;
        input = abi.encodeCall(clearing.challengeStanding, (proof, place, shown, order, ""));
        assertRefused(address(clearing), input, FINE);
    }

    function judgeStanding(
        Messages.Slot memory slot,
        uint8 rule,
        Messages.StandingOrder memory order,
        bytes memory signature,
        bytes4 refusal,
        RoundRules.StandingFault fault
    ) private {
        Messages.Slot[] memory slots = slotsWith(slot);
        (ISettlement.HeaderProof memory proof, AuctionProof memory place, SlotProof memory shown) =
            published(slots, auctionOf(HOUR, 1, rule, 0, slots), ADA_ACCOUNT);
        bytes memory input = abi.encodeCall(clearing.challengeStanding, (proof, place, shown, order, signature));
        if (fault == RoundRules.StandingFault.None) assertRefused(address(clearing), input, refusal);
        else assertVoid(address(clearing), input, proof.index, ISettlement.Lie.Standing, uint8(fault));
    }

    function committed(Messages.StandingOrder memory order, bytes memory signature) private pure returns (bytes32) {
        return keccak256(abi.encodePacked(Messages.hashStruct(order), keccak256(signature)));
    }

    function test_a_deviation_stands_at_its_homes_standing_limit() public {
        Messages.StandingOrder memory order = Messages.StandingOrder(ADA_ACCOUNT, 7, 250, 90, FIRST * 890, 0);
        bytes memory signature = signedBy(ADA_KEY, Messages.hashStruct(order));
        Messages.Slot memory slot = adas();
        (slot.version, slot.limitPrice, slot.signatureHash) = (7, 250, committed(order, signature));
        judgeStanding(slot, 2, order, signature, FINE, RoundRules.StandingFault.None);
        judgeStanding(slot, 0, order, signature, FINE, RoundRules.StandingFault.None);
        judgeStanding(slot, 2, order, "another", FORGED, RoundRules.StandingFault.None);
        slot.limitPrice = 90;
        judgeStanding(slot, 2, order, signature, FINE, RoundRules.StandingFault.WrongLimit);
        slot.side = 1;
        judgeStanding(slot, 2, order, signature, FINE, RoundRules.StandingFault.None);
        order.validUntilS = FIRST * 890 + 1;
        signature = signedBy(ADA_KEY, Messages.hashStruct(order));
        slot.signatureHash = committed(order, signature);
        judgeStanding(slot, 2, order, signature, FINE, RoundRules.StandingFault.NotValid);
        order.validUntilS = 0;
        signature = signedBy(BO_KEY, Messages.hashStruct(order));
        slot.signatureHash = committed(order, signature);
        judgeStanding(slot, 2, order, signature, FINE, RoundRules.StandingFault.NotByKey);
    }

    function test_a_home_without_a_standing_order_stands_at_the_tariff() public {
        Messages.StandingOrder memory order;
        Messages.Slot memory slot = adas();
        (slot.version, slot.limitPrice) = (0, IMPORT);
        judgeStanding(slot, 2, order, "", FINE, RoundRules.StandingFault.None);
        slot.side = 1;
        judgeStanding(slot, 2, order, "", FINE, RoundRules.StandingFault.WithoutOrder);
    }
}
