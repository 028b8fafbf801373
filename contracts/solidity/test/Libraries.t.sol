// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {MessageDigests} from "../src/lens/MessageDigests.sol";
import {ClearingRules} from "../src/libraries/ClearingRules.sol";
import {HeaderRules} from "../src/libraries/HeaderRules.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Signatures} from "../src/libraries/Signatures.sol";
import {Cast} from "./Cast.sol";

contract LibrariesTest is Cast {
    MessageDigests internal lens;

    function setUp() public override {
        lens = new MessageDigests();
    }

    /// @dev A node from a seed; every fourth one is empty, so that sparse paths are met.
    function nodeOf(uint256 seed) internal pure returns (MerkleSum.Node memory node) {
        if (seed % 4 == 0) return node;
        bytes32 hash = keccak256(abi.encode(seed));
        return MerkleSum.Node(hash, uint120(uint256(hash)), uint64(uint256(hash) >> 120), uint8(uint256(hash)));
    }

    function testFuzz_the_fast_path_is_the_readable_one(uint24 index, uint256 seed, uint8 length) public view {
        uint256 depth = length % 33;
        uint256 at = uint256(index) % (1 << depth);
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](depth);
        MerkleSum.Node memory node = nodeOf(seed);
        for (uint256 height = 0; height < depth; height++) {
            siblings[height] = nodeOf(uint256(keccak256(abi.encode(seed, height))));
        }
        (MerkleSum.Node memory root, bytes32 commitment) = lens.rootOf(at, node, pathOf(siblings), depth);
        uint256 prefix;
        for (uint256 height = 0; height < depth; height++) {
            bool isRight = (at >> height) & 1 == 1;
            if (isRight) prefix += siblings[height].c;
            node = isRight ? MerkleSum.parent(siblings[height], node) : MerkleSum.parent(node, siblings[height]);
        }
        assertEq(MerkleSum.commitment(root), MerkleSum.commitment(node));
        assertEq(commitment, MerkleSum.commitment(node));
        assertEq(lens.prefixSumC(at, pathOf(siblings), depth), prefix);
    }

    function test_a_sibling_that_is_marked_and_empty_is_an_empty_sibling() public view {
        MerkleSum.Node memory empty;
        bytes memory marked = abi.encodePacked(uint32(1), new bytes(80));
        (MerkleSum.Node memory root,) = lens.rootOf(1, empty, marked, 1);
        assertTrue(MerkleSum.isEmpty(root));
        (root,) = lens.rootOf(1, nodeOf(1), marked, 1);
        assertEq(root.hash, MerkleSum.parent(empty, nodeOf(1)).hash);
    }

    function test_a_node_without_a_hash_is_not_empty_where_it_has_sums() public view {
        for (uint256 part = 0; part < 3; part++) {
            uint128[3] memory sums;
            sums[part] = 1;
            MerkleSum.Node memory node = MerkleSum.Node(bytes32(0), sums[0], sums[1], sums[2]);
            MerkleSum.Node memory empty;
            (MerkleSum.Node memory root,) = lens.rootOf(0, node, emptyPath(), 1);
            assertEq(root.hash, MerkleSum.parentHash(node, empty));
        }
    }

    function test_a_sum_beyond_128_bits_is_no_root() public {
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](1);
        for (uint256 part = 0; part < 3; part++) {
            uint128[3] memory one;
            (one[part], siblings[0].a, siblings[0].b, siblings[0].c) = (type(uint128).max, 1, 1, 1);
            VM.expectRevert(MerkleSum.SumTooLarge.selector);
            lens.rootOf(0, MerkleSum.Node(bytes32(uint256(1)), one[0], one[1], one[2]), pathOf(siblings), 1);
        }
    }

    /// @dev Whatever the sums are: the fast path refuses exactly what the readable one cannot add.
    function testFuzz_sums_never_wrap(uint128[3] memory one, uint128[3] memory two, uint128[3] memory three) public {
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](2);
        siblings[0] = MerkleSum.Node(bytes32(uint256(2)), two[0], two[1], two[2]);
        siblings[1] = MerkleSum.Node(bytes32(uint256(3)), three[0], three[1], three[2]);
        bool isTooLarge = false;
        for (uint256 part = 0; part < 3; part++) {
            if (uint256(one[part]) + two[part] + three[part] > type(uint128).max) isTooLarge = true;
        }
        if (isTooLarge) VM.expectRevert(MerkleSum.SumTooLarge.selector);
        lens.rootOf(1, MerkleSum.Node(bytes32(uint256(1)), one[0], one[1], one[2]), pathOf(siblings), 2);
    }

    function test_an_index_outside_the_tree_is_refused() public {
        VM.expectRevert(abi.encodeWithSelector(MerkleSum.IndexOutsideTree.selector, 8, 3));
        lens.rootOf(8, nodeOf(1), emptyPath(), 3);
    }

    function test_a_path_has_as_many_siblings_as_it_marks_and_none_above_the_root() public {
        bytes memory one = abi.encodePacked(uint32(2), new bytes(79), bytes1(0x01));
        lens.rootOf(0, nodeOf(1), one, 2);
        refused(one, 1);
        refused("", 2);
        refused(hex"000000", 2);
        refused(hex"0000000000", 2);
        refused(abi.encodePacked(one, bytes1(0)), 2);
        refused(abi.encodePacked(uint32(3), new bytes(80)), 2);
        refused(abi.encodePacked(uint32(1), new bytes(160)), 2);
        refused(abi.encodePacked(uint32(2), new bytes(79)), 2);
    }

    function refused(bytes memory path, uint256 depth) internal {
        VM.expectRevert(MerkleSum.WrongPath.selector);
        lens.rootOf(0, nodeOf(1), path, depth);
    }

    function testFuzz_shares_telescope_to_the_whole(uint64 one, uint64 two, uint64 three, uint64 give) public pure {
        uint256 total = uint256(one) + two + three;
        VM.assume(total > 0 && give <= total);
        uint256 first = ClearingRules.cumulativeShare(0, one, give, total);
        uint256 second = ClearingRules.cumulativeShare(one, two, give, total);
        uint256 third = ClearingRules.cumulativeShare(uint256(one) + two, three, give, total);
        assertEq(first + second + third, give);
        assertTrue(first <= one && second <= two && third <= three);
    }

    function test_nothing_is_shared_out_of_nothing() public pure {
        assertEq(ClearingRules.cumulativeShare(0, 5, 0, 0), 0);
    }

    function testFuzz_the_middle_is_rounded_down(int64 lo, int64 hi) public pure {
        VM.assume(lo <= hi);
        int256 sum = int256(lo) + int256(hi);
        int256 middle = sum / 2;
        if (sum < 0 && sum % 2 != 0) middle -= 1;
        Messages.Auction memory auction;
        (auction.lo, auction.hi, auction.price) = (lo, hi, int64(middle));
        auction.rule = ClearingRules.SPOT_SHARED;
        assertTrue(ClearingRules.auctionFault(auction, 0, 0, 0) == ClearingRules.AuctionFault.None);
        if (middle < type(int64).max) {
            auction.price += 1;
            assertTrue(ClearingRules.auctionFault(auction, 0, 0, 0) == ClearingRules.AuctionFault.PriceNotMidpoint);
        }
    }

    function testFuzz_leaves_come_back_from_their_bytes(Messages.Slot calldata slot) public view {
        bytes memory packed = Messages.pack(slot);
        assertEq(packed.length, Messages.SLOT_BYTES);
        assertEq(keccak256(Messages.pack(lens.unpackSlot(packed))), keccak256(packed));
    }

    function testFuzz_a_signature_counts_in_one_form_only(uint256 key, bytes32 digest) public pure {
        key = 1 + key % 1e70;
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(key, digest);
        address signer = VM.addr(key);
        assertTrue(Signatures.isBy(signer, digest, abi.encodePacked(r, s, v)));
        assertTrue(!Signatures.isBy(signer, keccak256(abi.encode(digest)), abi.encodePacked(r, s, v)));
        assertTrue(!Signatures.isBy(signer, digest, abi.encodePacked(r, s, v - 27)));
        assertTrue(!Signatures.isBy(signer, digest, abi.encodePacked(r, s)));
        assertTrue(!Signatures.isBy(address(0), digest, abi.encodePacked(bytes32(0), s, v)));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory twin = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        assertTrue(!Signatures.isBy(signer, digest, twin));
    }

    /// @dev A slot that buys `quantityWh` at the price, in a round of which half of the buyers' side is rationed away.
    function marginal(uint64 quantityWh, uint64 filledBeforeWh, uint64 fillWh, uint64 expiryS)
        internal
        pure
        returns (Messages.Slot memory slot, Messages.Auction memory auction)
    {
        (auction.price, auction.lo, auction.hi, auction.longSide) = (100, 100, 100, ClearingRules.LONG_BUY);
        (auction.marginalWh, auction.rationedWh, auction.clearedAtS) = (200, 100, 1_000);
        (auction.loAccount, auction.hiAccount) = (1, 2);
        (slot.account, slot.limitPrice, slot.expiryS) = (5, 100, expiryS);
        (slot.quantityWh, slot.filledBeforeWh, slot.fillWh) = (quantityWh, filledBeforeWh, fillWh);
    }

    function faultOf(Messages.Slot memory slot, Messages.Auction memory auction) internal pure returns (uint256) {
        return uint256(ClearingRules.slotFault(slot, auction, 0));
    }

    function test_an_expired_bid_takes_no_part() public pure {
        (Messages.Slot memory slot, Messages.Auction memory auction) = marginal(60, 20, 20, 1_000);
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.None));
        assertEq(Leaves.node(slot, 100, 1, 1_000).c, 40);
        slot.expiryS = 999;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.WrongFill));
        assertEq(Leaves.node(slot, 100, 1, 1_000).c, 0);
        slot.fillWh = 0;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.None));
        assertEq(ClearingRules.offeredWh(slot, 1_000), 0);
        // Deviations do not expire.
        auction.rule = ClearingRules.SPOT_AUCTION;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.Expired));
        auction.rule = ClearingRules.SPOT_SHARED;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.Expired));
    }

    function test_every_way_in_which_a_slot_refutes_its_auction() public pure {
        (Messages.Slot memory slot, Messages.Auction memory auction) = marginal(60, 61, 0, 1_000);
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.OverfilledBefore));
        slot.filledBeforeWh = 20;
        slot.fillWh = 20;
        auction.rule = ClearingRules.SPOT_SHARED;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.None));
        slot.limitPrice = 101;
        slot.fillWh = 40;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.NotAtSharedPrice));
        auction.rule = ClearingRules.FORWARD;
        slot.limitPrice = 99;
        slot.fillWh = 0;
        auction.lo = 98;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.AboveLo));
        auction.lo = 99;
        auction.loAccount = ClearingRules.NO_ACCOUNT;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.AboveLo));
        auction.loAccount = 5;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.None));
        auction.lo = 100;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.NotAtLo));
        auction.loAccount = 1;
        slot.limitPrice = 101;
        slot.fillWh = 40;
        auction.hi = 102;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.BelowHi));
        auction.hi = 101;
        auction.hiAccount = ClearingRules.NO_ACCOUNT;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.BelowHi));
        auction.hiAccount = 5;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.None));
        auction.hi = 100;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.NotAtHi));
    }

    function test_sellers_mirror_buyers() public pure {
        (Messages.Slot memory slot, Messages.Auction memory auction) = marginal(40, 0, 40, 1_000);
        slot.side = 1;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.None));
        assertEq(Leaves.node(slot, 100, 1, 1_000).b, 40);
        assertEq(Leaves.node(slot, 100, 1, 1_000).c, 0);
        auction.longSide = ClearingRules.LONG_SELL;
        slot.fillWh = 20;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.None));
        assertEq(Leaves.node(slot, 100, 2, 1_000).c, 40);
        slot.limitPrice = 101;
        assertEq(faultOf(slot, auction), uint256(ClearingRules.SlotFault.WrongFill));
    }

    function test_more_filled_than_bid_is_no_marginal_quantity_unless_it_has_expired() public {
        (Messages.Slot memory slot,) = marginal(60, 61, 0, 1_000);
        VM.expectRevert(Leaves.OpenQuantityNegative.selector);
        lens.node(slot, 100, 1, 1_000);
        assertEq(lens.node(slot, 100, 1, 1_001).c, 0);
    }

    function test_every_way_in_which_an_auction_refutes_itself() public pure {
        (, Messages.Auction memory auction) = marginal(60, 0, 0, 1_000);
        auction.volumeWh = 7;
        assertEq(faultOf(auction, 7, 7, 200), uint256(ClearingRules.AuctionFault.None));
        assertEq(faultOf(auction, 8, 7, 200), uint256(ClearingRules.AuctionFault.SumsUnbalanced));
        assertEq(faultOf(auction, 8, 8, 200), uint256(ClearingRules.AuctionFault.SumsUnbalanced));
        assertEq(faultOf(auction, 7, 7, 201), uint256(ClearingRules.AuctionFault.SumsUnbalanced));
        auction.longSide = ClearingRules.LONG_NONE;
        assertEq(faultOf(auction, 7, 7, 200), uint256(ClearingRules.AuctionFault.MarginWithoutSide));
        auction.rationedWh = 201;
        assertEq(faultOf(auction, 7, 7, 200), uint256(ClearingRules.AuctionFault.RationExceedsMargin));
        (auction.loAccount, auction.hiAccount) = (ClearingRules.NO_ACCOUNT, ClearingRules.NO_ACCOUNT);
        assertEq(faultOf(auction, 7, 7, 200), uint256(ClearingRules.AuctionFault.BoundUnnamed));
        (auction.hiAccount, auction.lo, auction.hi) = (1, 99, 101);
        assertEq(faultOf(auction, 7, 7, 200), uint256(ClearingRules.AuctionFault.BoundUnnamed));
        (auction.lo, auction.hi) = (101, 99);
        assertEq(faultOf(auction, 7, 7, 200), uint256(ClearingRules.AuctionFault.BoundsCrossed));
    }

    function faultOf(Messages.Auction memory auction, uint256 buyWh, uint256 sellWh, uint256 marginalWh)
        internal
        pure
        returns (uint256)
    {
        return uint256(ClearingRules.auctionFault(auction, buyWh, sellWh, marginalWh));
    }

    function test_a_spot_round_is_by_the_agreed_rule_and_first_of_its_kind() public pure {
        Messages.Header memory header;
        (header.interval, header.spotPrice) = (10, 100);
        Messages.Auction memory auction;
        (auction.product, auction.round, auction.rule) = (6 * 1024 + 1, 0xFFFF, ClearingRules.SPOT_SHARED);
        (auction.price, auction.clearedAtS) = (100, 9_899);
        assertEq(placementOf(0, auction, header), uint256(HeaderRules.PlacementFault.None));
        assertEq(placementOf(1, auction, header), uint256(HeaderRules.PlacementFault.SpotMisplaced));
        auction.previous = bytes32(uint256(1));
        assertEq(placementOf(0, auction, header), uint256(HeaderRules.PlacementFault.SpotMisplaced));
        (auction.previous, auction.rule) = (bytes32(0), ClearingRules.SPOT_AUCTION);
        assertEq(placementOf(0, auction, header), uint256(HeaderRules.PlacementFault.SpotMisplaced));
        (auction.rule, auction.product) = (ClearingRules.SPOT_SHARED, 5 * 1024 + 1);
        assertEq(placementOf(0, auction, header), uint256(HeaderRules.PlacementFault.SpotMisplaced));
        (auction.product, auction.price) = (6 * 1024 + 1, 99);
        assertEq(placementOf(0, auction, header), uint256(HeaderRules.PlacementFault.SpotPriceDiffers));
        (auction.price, auction.clearedAtS) = (100, 9_900);
        assertEq(placementOf(0, auction, header), uint256(HeaderRules.PlacementFault.ClearedOutsideInterval));
        auction.rule = ClearingRules.FORWARD;
        assertEq(placementOf(1, auction, header), uint256(HeaderRules.PlacementFault.SpotMisplaced));
        (auction.round, auction.clearedAtS) = (1, 9_000);
        assertEq(placementOf(1, auction, header), uint256(HeaderRules.PlacementFault.None));
    }

    function placementOf(uint256 index, Messages.Auction memory auction, Messages.Header memory header)
        internal
        pure
        returns (uint256)
    {
        return uint256(HeaderRules.placementFault(index, auction, header, 4, ClearingRules.SPOT_SHARED));
    }

    function test_a_balance_moves_by_contracts_spot_and_supplier() public pure {
        Messages.Header memory header;
        (header.spotPrice, header.tariffImport, header.tariffExport) = (200, 300, 80);
        HeaderRules.Settled memory one;
        assertEq(balanceFaultOf(one, header), uint256(HeaderRules.BalanceFault.None));
        one.hasMeter = true;
        one.meter.deviationWh = 10;
        assertEq(balanceFaultOf(one, header), uint256(HeaderRules.BalanceFault.SpotIsNotDeviation));
        one.hasSlot = true;
        (one.slot.quantityWh, one.slot.fillWh) = (10, 4);
        (one.meter.quarterCostNano, one.meter.hourCostNano) = (1, 20);
        (one.meter.dayCostNano, one.meter.weekCostNano) = (300, -4_000);
        one.beforeNano = 7;
        one.afterNano = 7 - (1 + 20 + 300 - 4_000) - 4 * 200 - 6 * 300;
        assertEq(balanceFaultOf(one, header), uint256(HeaderRules.BalanceFault.None));
        one.meter.deviationWh = -10;
        one.slot.side = 1;
        assertEq(balanceFaultOf(one, header), uint256(HeaderRules.BalanceFault.WrongCumulative));
        one.afterNano = 7 - (1 + 20 + 300 - 4_000) + 4 * 200 + 6 * 80;
        assertEq(balanceFaultOf(one, header), uint256(HeaderRules.BalanceFault.None));
        one.hasSlot = false;
        one.meter.deviationWh = 0;
        one.afterNano = 7 - (1 + 20 + 300 - 4_000);
        assertEq(balanceFaultOf(one, header), uint256(HeaderRules.BalanceFault.None));
    }

    function balanceFaultOf(HeaderRules.Settled memory one, Messages.Header memory header)
        internal
        pure
        returns (uint256)
    {
        return uint256(HeaderRules.balanceFault(one, header));
    }
}
