// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Challenge} from "../src/challenges/Challenge.sol";
import {AuctionProof, BalanceProof, MeterProof} from "../src/challenges/Proofs.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Grove} from "./Grove.sol";

/// @dev What every challenge may ask, asked from outside.
contract Court is Challenge {
    constructor(ISettlement settlement_) Challenge(settlement_) {}

    function meter(Messages.Header calldata header, uint32 account, MeterProof calldata proof) external pure {
        _requireMeter(header, account, proof);
    }

    function balance(Messages.Header calldata header, uint32 account, BalanceProof calldata proof) external pure {
        _requireBalance(header, account, proof);
    }

    function previous(ISettlement.HeaderProof calldata proof, Messages.Header calldata header)
        external
        view
        returns (bool)
    {
        return _requirePrevious(proof, header);
    }

    function closing(
        Messages.Header calldata header,
        uint64 product,
        AuctionProof calldata last,
        AuctionProof calldata next
    ) external pure returns (bool) {
        return _closing(header, product, last, next);
    }
}

contract ChallengeTest is Grove {
    bytes4 private constant STRANGERS = Challenge.WrongNeighbours.selector;

    Court private court;

    function setUp() public override {
        super.setUp();
        court = new Court(settlement);
    }

    function test_an_accounts_leaf_or_its_absence_is_shown_by_its_path() public {
        Messages.MeterLeaf[] memory meters = new Messages.MeterLeaf[](3);
        meters[1].account = 1;
        Messages.BalanceLeaf[] memory balances = new Messages.BalanceLeaf[](3);
        balances[1] = leafOf(1, 5, 0);
        Messages.Header memory header;
        header.metersRoot = rootOf(nodesOf(meters), MerkleSum.DEPTH);
        header.balancesRoot = rootOf(nodesOf(balances), MerkleSum.DEPTH);
        MeterProof memory meter = proofOf(meters, 1);
        BalanceProof memory balance = proofOf(balances, 1);
        court.meter(header, 1, meter);
        court.meter(header, 2, proofOf(meters, 2));
        court.balance(header, 1, balance);
        court.balance(header, 2, proofOf(balances, 2));
        (meter.present, balance.present) = (false, false);
        VM.expectRevert(Challenge.NotInTree.selector);
        court.meter(header, 1, meter);
        VM.expectRevert(Challenge.NotInTree.selector);
        court.balance(header, 1, balance);
        (meter.present, balance.present) = (true, true);
        VM.expectRevert(Challenge.NotInTree.selector);
        court.meter(header, 3, meter);
        VM.expectRevert(abi.encodeWithSelector(MerkleSum.IndexOutsideTree.selector, 1 << 20, 20));
        court.balance(header, 1 << 20, balance);
    }

    function test_the_header_before_is_the_one_whose_digest_is_named() public {
        ISettlement.HeaderProof memory first = post(nextHeader(emptyRoot()));
        ISettlement.HeaderProof memory second = post(nextHeader(keccak256("second")));
        assertTrue(court.previous(second, first.header));
        assertTrue(!court.previous(first, second.header));
        VM.expectRevert(Challenge.NotInTree.selector);
        court.previous(second, second.header);
    }

    /// @dev Spot round, products 10 (rounds 1 and 2) and 30, then nothing.
    function listed() private pure returns (Messages.Auction[] memory auctions) {
        auctions = new Messages.Auction[](5);
        auctions[0].product = 99;
        (auctions[1].product, auctions[1].round) = (10, 1);
        (auctions[2].product, auctions[2].round) = (10, 2);
        (auctions[3].product, auctions[3].round) = (30, 1);
    }

    function ask(Messages.Auction[] memory auctions, uint64 product, uint256 at) private view returns (bool) {
        Messages.Header memory header;
        header.auctionsRoot = rootOf(nodesOf(auctions), MerkleSum.AUCTIONS_DEPTH);
        return court.closing(header, product, proofOf(auctions, at), proofOf(auctions, at + 1));
    }

    function strangers(Messages.Auction[] memory auctions, uint64 product, uint256 at) private {
        Messages.Header memory header;
        header.auctionsRoot = rootOf(nodesOf(auctions), MerkleSum.AUCTIONS_DEPTH);
        AuctionProof memory last = proofOf(auctions, at);
        AuctionProof memory next = proofOf(auctions, at + 1);
        VM.expectRevert(STRANGERS);
        court.closing(header, product, last, next);
    }

    function test_the_last_auction_of_a_product_is_shown_with_the_leaf_after_it() public {
        Messages.Auction[] memory auctions = listed();
        assertTrue(ask(auctions, 10, 2));
        assertTrue(ask(auctions, 30, 3));
        strangers(auctions, 10, 1);
        strangers(auctions, 10, 3);
        strangers(auctions, 30, 2);
    }

    function test_between_two_neighbours_no_auction_can_hide() public {
        Messages.Auction[] memory auctions = listed();
        assertTrue(!ask(auctions, 9, 0));
        assertTrue(!ask(auctions, 20, 2));
        assertTrue(!ask(auctions, 31, 3));
        // The spot round's own product does not count, nor what stands behind an empty leaf.
        strangers(auctions, 99, 0);
        strangers(auctions, 31, 4);
        strangers(auctions, 5, 1);
        auctions = new Messages.Auction[](0);
        assertTrue(!ask(auctions, 10, 0));
    }

    function test_two_leaves_that_do_not_touch_are_no_neighbours() public {
        Messages.Auction[] memory auctions = listed();
        Messages.Header memory header;
        header.auctionsRoot = rootOf(nodesOf(auctions), MerkleSum.AUCTIONS_DEPTH);
        AuctionProof memory last = proofOf(auctions, 2);
        AuctionProof memory next = proofOf(auctions, 4);
        VM.expectRevert(STRANGERS);
        court.closing(header, 10, last, next);
        next.index = 3;
        VM.expectRevert(Challenge.NotInTree.selector);
        court.closing(header, 10, last, next);
    }

    function test_the_last_leaf_of_all_needs_no_neighbour() public view {
        Messages.Auction memory auction;
        auction.product = 10;
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](MerkleSum.AUCTIONS_DEPTH);
        MerkleSum.Node memory node = nodesOf(listOf(auction))[0];
        for (uint256 height = 0; height < siblings.length; height++) {
            siblings[height] = MerkleSum.Node(keccak256(abi.encode(height)), 1, 0, 0);
            node = MerkleSum.parent(siblings[height], node);
        }
        Messages.Header memory header;
        header.auctionsRoot = MerkleSum.commitment(node);
        AuctionProof memory last = AuctionProof(true, auction, 4_095, pathOf(siblings));
        AuctionProof memory nothing;
        assertTrue(court.closing(header, 10, last, nothing));
        assertTrue(!court.closing(header, 11, last, nothing));
    }

    function listOf(Messages.Auction memory one) private pure returns (Messages.Auction[] memory list) {
        list = new Messages.Auction[](1);
        list[0] = one;
    }
}
