// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {AuctionProof, MeterProof} from "../src/challenges/Proofs.sol";
import {DemandBook} from "../src/challenges/demands/DemandBook.sol";
import {PromiseDemands} from "../src/challenges/demands/PromiseDemands.sol";
import {IEnergyTrading} from "../src/interfaces/IEnergyTrading.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {PromiseCast} from "./PromiseCast.sol";

/// @dev Where is the round that a receipt promised? Ada's bid of version 3 for `PRODUCT`, round 7.
contract RoundTest is PromiseCast {
    Messages.Bid internal bid;
    Messages.Receipt internal receipt;
    bytes internal signature;

    function setUp() public override {
        super.setUp();
        bid = Messages.Bid(1, PRODUCT, 3, 0, 1_000, 200_000, uint64(FIRST * 900 + 60));
        receipt = Messages.Receipt(1, PRODUCT, 3, Messages.hashStruct(bid), 7, uint64(FIRST * 900 + 60));
        signature = sign(OPERATOR_KEY, Messages.hashStruct(receipt));
    }

    /// @dev A header with these auctions at an even leaf and the next.
    function neighbours(uint256 place, Messages.Auction memory one, Messages.Auction memory other)
        internal
        returns (ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next)
    {
        Messages.Header memory header = blank();
        last = AuctionProof(one.product != 0, one, place, "");
        next = AuctionProof(other.product != 0, other, place + 1, "");
        MerkleSum.Node memory left = last.present ? Leaves.node(one) : emptyNode();
        MerkleSum.Node memory right = next.present ? Leaves.node(other) : emptyNode();
        (header.auctionsRoot, last.path) = grown(place, left, right, 12);
        (, next.path) = grown(place + 1, right, left, 12);
        proof = postBy(header);
    }

    function ask(ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next)
        internal
        returns (uint256)
    {
        return demands.demandRound(proof, receipt, signature, bid, last, next);
    }

    function missing()
        internal
        returns (ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next)
    {
        return neighbours(2, auctionOf(PRODUCT, 6, emptyRoot()), auctionOf(PRODUCT, 8, emptyRoot()));
    }

    function test_a_missing_round_is_excused_by_a_newer_bid_alone() public {
        (ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next) = missing();
        uint256 id = ask(proof, last, next);
        bytes memory signed = sign(ADA_KEY, Messages.hashStruct(bid));
        VM.expectRevert(notCovered);
        demands.answerRound(id, proof, 3, bid, signed);
        Messages.Bid memory newer = bid;
        (newer.version, newer.quantityWh) = (4, 0);
        signed = sign(BO_KEY, Messages.hashStruct(newer));
        VM.expectRevert(wrongEvidence);
        demands.answerRound(id, proof, 3, newer, signed);
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.answerRound(id, proof, 2, newer, signed);
        newer.product++;
        VM.expectRevert(abi.encodeWithSelector(DemandBook.NotAsked.selector, id));
        demands.answerRound(id, proof, 3, newer, signed);
        newer.product--;
        send(abi.encodeCall(demands.answerRound, (id, proof, 3, newer, sign(ADA_KEY, Messages.hashStruct(newer)))));
    }

    function test_a_missing_round_is_excused_by_a_bid_placed_on_chain() public {
        bid.product = trading.nextInterval() * 1024 + 1;
        (receipt.product, receipt.bidHash) = (bid.product, Messages.hashStruct(bid));
        signature = sign(OPERATOR_KEY, Messages.hashStruct(receipt));
        VM.prank(ADA);
        trading.createOrder(5, 100, block.timestamp + 1 days, IEnergyTrading.OrderType.SELL);
        Messages.Bid memory forced =
            Messages.Bid(1, bid.product, FORCED | 1, 1, 5, 100, uint64(block.timestamp + 1 days));
        ISettlement.HeaderProof memory proof = postBy(blank());
        uint256 id = ask(proof, AuctionProof(false, noAuction.auction, 0, emptyPath()), emptyAt(1));
        forced.quantityWh = 6;
        VM.expectRevert(wrongEvidence);
        demands.answerRound(id, proof, 3, forced, "");
        forced.quantityWh = 5;
        send(abi.encodeCall(demands.answerRound, (id, proof, 3, forced, "")));
    }

    function emptyAt(uint256 index) internal view returns (AuctionProof memory) {
        return AuctionProof(false, noAuction.auction, index, emptyPath());
    }

    function test_a_round_that_stands_is_not_missing() public {
        (ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next) =
            neighbours(2, auctionOf(PRODUCT, 7, emptyRoot()), auctionOf(PRODUCT, 8, emptyRoot()));
        VM.expectRevert(wrongNeighbours);
        ask(proof, last, next);
        (proof, last, next) = neighbours(2, auctionOf(PRODUCT, 6, emptyRoot()), auctionOf(PRODUCT, 7, emptyRoot()));
        receipt.clearsAtS += 900;
        bid.expiryS += 900;
        receipt.bidHash = Messages.hashStruct(bid);
        signature = sign(OPERATOR_KEY, Messages.hashStruct(receipt));
        VM.expectRevert(wrongNeighbours);
        ask(proof, last, next);
    }

    function test_only_neighbours_show_that_a_round_is_missing() public {
        (ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next) = missing();
        next.index = 4;
        VM.expectRevert(wrongNeighbours);
        ask(proof, last, next);
        next.index = 3;
        next.auction.round = 9;
        VM.expectRevert(notInTree);
        ask(proof, last, next);
        last.auction.round = 5;
        VM.expectRevert(notInTree);
        ask(proof, last, next);
    }

    function test_an_empty_leaf_shows_nothing_about_what_stands_before_it() public {
        ISettlement.HeaderProof memory proof = postBy(blank());
        VM.expectRevert(wrongNeighbours);
        ask(proof, emptyAt(4), emptyAt(5));
        // But leaf 0, the spot round's, is outside the order.
        ask(proof, emptyAt(0), emptyAt(1));
    }

    function test_after_the_last_leaf_stands_nothing() public {
        Messages.Header memory header = blank();
        AuctionProof memory last = AuctionProof(true, auctionOf(PRODUCT - 1024, 9, emptyRoot()), 4_095, "");
        (header.auctionsRoot, last.path) = grown(4_095, Leaves.node(last.auction), filler(0), 12);
        ISettlement.HeaderProof memory proof = postBy(header);
        ask(proof, last, noAuction);
    }

    function test_only_the_operators_receipt_for_that_interval_and_bid_counts() public {
        (ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next) = missing();
        bytes memory good = signature;
        signature = sign(ADA_KEY, Messages.hashStruct(receipt));
        VM.expectRevert(wrongEvidence);
        ask(proof, last, next);
        signature = good;
        bid.quantityWh++;
        VM.expectRevert(wrongEvidence);
        ask(proof, last, next);
        bid.quantityWh--;
        bid.expiryS--;
        promised();
        VM.expectRevert(nothingToAsk);
        ask(proof, last, next);
        bid.expiryS++;
        bid.quantityWh = 0;
        promised();
        VM.expectRevert(nothingToAsk);
        ask(proof, last, next);
        bid.quantityWh = 1;
        receipt.clearsAtS = uint64((FIRST + 1) * 900);
        bid.expiryS = receipt.clearsAtS;
        promised();
        VM.expectRevert(nothingToAsk);
        ask(proof, last, next);
        receipt.clearsAtS--;
        promised();
        ask(proof, last, next);
    }

    /// @dev The operator signs a receipt for the bid as it is now.
    function promised() internal {
        receipt.bidHash = Messages.hashStruct(bid);
        signature = sign(OPERATOR_KEY, Messages.hashStruct(receipt));
    }

    function test_a_receipt_is_for_the_bid_of_its_own_account_product_and_version() public {
        (ISettlement.HeaderProof memory proof, AuctionProof memory last, AuctionProof memory next) = missing();
        receipt.account = 2;
        promised();
        VM.expectRevert(wrongEvidence);
        ask(proof, last, next);
        (receipt.account, receipt.product) = (1, PRODUCT + 1024);
        promised();
        VM.expectRevert(wrongEvidence);
        ask(proof, last, next);
        (receipt.product, receipt.version) = (PRODUCT, 2);
        promised();
        VM.expectRevert(wrongEvidence);
        ask(proof, last, next);
    }
}

/// @dev Which command stands behind ordered energy? Ada's 400 Wh of the interval that the header settles.
contract OrderedTest is PromiseCast {
    uint64 internal constant START_S = (FIRST - GRACE) * 900;
    int64 internal constant ORDERED_WH = -400;

    ISettlement.HeaderProof internal header;
    MeterProof internal meter;
    PromiseDemands.Command[] internal commands;

    function setUp() public override {
        super.setUp();
        Messages.MeterLeaf memory leaf;
        (leaf.account, leaf.orderedWh, leaf.deviationWh) = (1, ORDERED_WH, -ORDERED_WH);
        (ISettlement.HeaderProof memory proof, MeterProof memory shown) = metered(leaf);
        (header, meter) = (proof, shown);
    }

    function command(uint16 device, uint64 sequence, uint64 fromS, uint64 untilS, int32 powerW)
        internal
        view
        returns (PromiseDemands.Command memory one)
    {
        one.setPoint = Messages.SetPoint(1, device, 0, 1, sequence, fromS, untilS, powerW);
        one.report = Messages.SetPointReport(1, device, 1, sequence, 0, powerW, fromS);
        return signed(one, ADA_KEY);
    }

    function signed(PromiseDemands.Command memory one, uint256 key)
        internal
        view
        returns (PromiseDemands.Command memory)
    {
        one.signature = sign(OPERATOR_KEY, Messages.hashStruct(one.setPoint));
        one.reportSignature = sign(key, Messages.hashStruct(one.report));
        return one;
    }

    function answer() internal {
        uint256 id = demands.demandOrdered(header, meter);
        send(abi.encodeCall(demands.answerOrdered, (id, header, 1, ORDERED_WH, commands)));
    }

    function answers() external {
        answer();
    }

    function refused(bytes memory reason) internal {
        VM.expectRevert(reason);
        this.answers();
    }

    function test_a_command_over_the_whole_interval_covers() public {
        commands.push(command(2, 5, START_S - 50, START_S + 950, 1_600));
        answer();
    }

    function test_a_watt_less_does_not() public {
        commands.push(command(2, 5, START_S, START_S + 900, 1_599));
        refused(notCovered);
    }

    function test_only_the_seconds_within_the_interval_count() public {
        commands.push(command(2, 5, START_S - 900, START_S + 450, -1_600));
        refused(notCovered);
        commands.push(command(2, 6, START_S + 450, START_S + 2_000, -1_600));
        answer();
        commands.push(command(2, 7, START_S + 900, START_S + 2_000, -1_600));
        commands.push(command(3, 1, START_S - 900, START_S, -1_600));
        answer();
    }

    function test_no_command_counts_twice() public {
        commands.push(command(2, 5, START_S, START_S + 450, 1_600));
        commands.push(commands[0]);
        refused(wrongEvidence);
    }

    function test_without_a_command_nothing_was_ordered() public {
        refused(notCovered);
    }

    function test_only_what_operator_and_home_have_both_signed_counts() public {
        PromiseDemands.Command memory one = command(2, 5, START_S, START_S + 900, 1_600);
        commands.push(one);
        commands[0] = signed(one, BO_KEY);
        refused(wrongEvidence);
        one = signed(one, ADA_KEY);
        one.signature = sign(ADA_KEY, Messages.hashStruct(one.setPoint));
        commands[0] = one;
        refused(wrongEvidence);
        one.setPoint.account = 2;
        commands[0] = signed(one, ADA_KEY);
        refused(wrongEvidence);
        one.setPoint.account = 1;
        one.report.outcome = 1;
        commands[0] = signed(one, ADA_KEY);
        refused(wrongEvidence);
        one.report.outcome = 0;
        commands[0] = signed(one, ADA_KEY);
        answer();
    }

    function test_a_report_is_about_the_command_it_names() public {
        PromiseDemands.Command memory one = command(2, 5, START_S, START_S + 900, 1_600);
        commands.push(one);
        for (uint256 i = 0; i < 4; i++) {
            one.report = Messages.SetPointReport(1, 2, 1, 5, 0, 1_600, START_S);
            if (i == 0) one.report.account = 2;
            if (i == 1) one.report.device = 3;
            if (i == 2) one.report.term = 2;
            if (i == 3) one.report.sequence = 6;
            commands[0] = signed(one, ADA_KEY);
            refused(wrongEvidence);
        }
    }

    function test_where_nothing_was_ordered_nothing_is_asked() public {
        meter.leaf.orderedWh = 0;
        VM.expectRevert(nothingToAsk);
        demands.demandOrdered(header, meter);
        meter.leaf.orderedWh = ORDERED_WH;
        meter.present = false;
        VM.expectRevert(nothingToAsk);
        demands.demandOrdered(header, meter);
        meter.present = true;
        meter.leaf.orderedWh = 1;
        VM.expectRevert(notInTree);
        demands.demandOrdered(header, meter);
    }
}
