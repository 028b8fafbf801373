// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";
import {Collar} from "./Collar.sol";

/// @dev What a transaction costs in the steady state: everything it touches is cold and was written before. The bounds
/// cost 5,000 of it, the real ones read more.
contract GasTest is Cast {
    Messages.Header internal next;
    Messages.BalanceLeaf internal leaf;
    bytes internal path;

    function setUp() public override {
        super.setUp();
        VM.startPrank(GOVERNANCE);
        settlement.setBounds(address(new Collar()));
        settlement.setOutflowCap(1_000e9);
        VM.stopPrank();
        settlement.deposit(1, 500e9);
        leaf = Messages.BalanceLeaf(1, 5e9, 2e9, keccak256("list"));
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](MerkleSum.DEPTH);
        MerkleSum.Node memory node = Leaves.node(leaf);
        for (uint256 height = 0; height < MerkleSum.DEPTH; height++) {
            uint256 seed = uint256(keccak256(abi.encode(height)));
            // Homes whose results lie within 200 of currency either way, and twice as many at every height.
            uint128 most = uint128(200e9) << uint128(height);
            siblings[height] = MerkleSum.Node(bytes32(seed), uint128(seed) % most, uint128(seed >> 128) % most, 0);
            bool isRight = (uint256(1) >> height) & 1 == 1;
            node = isRight ? MerkleSum.parent(siblings[height], node) : MerkleSum.parent(node, siblings[height]);
        }
        path = pathOf(siblings);
        finalised(MerkleSum.commitment(node));
        next = nextHeader(bytes32(uint256(7)));
        next.auctionsRoot = keccak256("a");
        next.metersRoot = keccak256("b");
        next.balancesRoot = keccak256("c");
        next.dataHash = keccak256("d");
        next.volumeWh = 1_234_567;
        VM.warp((uint256(next.interval) + 1) * 900);
        VM.prank(ADA);
        token.transfer(address(9), 1_000_000e9);
    }

    function test_posting_costs_at_most_73_000_gas() public {
        bytes memory input = abi.encodeCall(settlement.post, (next));
        VM.prank(COORDINATOR);
        (bool done,) = address(settlement).call(input);
        assertTrue(done && transactionGas(input) <= 73_000);
    }

    function test_withdrawing_from_a_full_tree_costs_at_most_100_000_gas_even_the_first_time() public {
        bytes memory input = abi.encodeCall(settlement.withdraw, (1, 3e9, leaf, path));
        VM.prank(ADA);
        (bool done,) = address(settlement).call(input);
        assertTrue(done && transactionGas(input) <= 100_000);
    }
}
