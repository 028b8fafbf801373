// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {MessageDigests} from "../src/lens/MessageDigests.sol";
import {ClearingRules} from "../src/libraries/ClearingRules.sol";
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
        uint256 depth = length % 21;
        uint256 at = uint256(index) % (1 << depth);
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](depth);
        MerkleSum.Node memory node = nodeOf(seed);
        for (uint256 height = 0; height < depth; height++) {
            siblings[height] = nodeOf(uint256(keccak256(abi.encode(seed, height))));
        }
        (MerkleSum.Node memory root,) = lens.rootOf(at, node, siblings);
        uint256 prefix;
        for (uint256 height = 0; height < depth; height++) {
            bool isRight = (at >> height) & 1 == 1;
            if (isRight) prefix += siblings[height].c;
            node = isRight ? MerkleSum.parent(siblings[height], node) : MerkleSum.parent(node, siblings[height]);
        }
        assertEq(MerkleSum.commitment(root), MerkleSum.commitment(node));
        assertEq(lens.prefixSumC(at, siblings), prefix);
    }

    function test_a_sum_beyond_128_bits_is_no_root() public {
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](1);
        for (uint256 part = 0; part < 3; part++) {
            uint128[3] memory one;
            (one[part], siblings[0].a, siblings[0].b, siblings[0].c) = (type(uint128).max, 1, 1, 1);
            VM.expectRevert(MerkleSum.SumTooLarge.selector);
            lens.rootOf(0, MerkleSum.Node(bytes32(uint256(1)), one[0], one[1], one[2]), siblings);
        }
    }

    function test_an_index_outside_the_tree_is_refused() public {
        VM.expectRevert(abi.encodeWithSelector(MerkleSum.IndexOutsideTree.selector, 8, 3));
        lens.rootOf(8, nodeOf(1), new MerkleSum.Node[](3));
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
}
