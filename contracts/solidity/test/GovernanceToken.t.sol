// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {GovernanceToken} from "../src/GovernanceToken.sol";
import {GovernanceCast} from "./GovernanceCast.sol";

contract GovernanceTokenTest is GovernanceCast {
    bytes32 internal constant PERMIT_TYPE_HASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");
    uint256 internal constant KEY = 0xADA0001;

    GovernanceToken internal votes;

    function setUp() public {
        votes = new GovernanceToken(ADA, 1_000e18);
    }

    function test_all_votes_are_there_from_the_beginning() public {
        assertEq(votes.totalSupply(), 1_000e18);
        assertEq(votes.balanceOf(ADA), 1_000e18);
        VM.expectRevert(GovernanceToken.NoVotes.selector);
        new GovernanceToken(ADA, 0);
        VM.expectRevert();
        new GovernanceToken(address(0), 1);
        VM.expectRevert();
        new GovernanceToken(ADA, uint256(type(uint208).max) + 1);
    }

    function test_its_clock_is_the_time() public view {
        assertEq(votes.clock(), block.timestamp);
        assertEq(votes.CLOCK_MODE(), "mode=timestamp");
    }

    function test_votes_count_once_delegated_and_are_remembered_by_time() public {
        assertEq(votes.getVotes(ADA), 0);
        VM.prank(ADA);
        votes.delegate(BO);
        VM.warp(START + 100);
        VM.prank(ADA);
        votes.transfer(CY, 400e18);
        assertEq(votes.getVotes(BO), 600e18);
        assertEq(votes.getPastVotes(BO, START), 1_000e18);
        assertEq(votes.getPastTotalSupply(START), 1_000e18);
    }

    function test_a_permit_uses_up_its_number() public {
        address owner = VM.addr(KEY);
        bytes32 permit = keccak256(abi.encode(PERMIT_TYPE_HASH, owner, BO, 9, 0, block.timestamp));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", votes.DOMAIN_SEPARATOR(), permit));
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(KEY, digest);
        votes.permit(owner, BO, 9, block.timestamp, v, r, s);
        assertEq(votes.allowance(owner, BO), 9);
        assertEq(votes.nonces(owner), 1);
        VM.expectRevert();
        votes.permit(owner, BO, 9, block.timestamp, v, r, s);
    }

    function testFuzz_delegated_votes_are_the_balances(uint256 first, uint256 second) public {
        first = bound(first, 0, 1_000e18);
        second = bound(second, 0, first);
        address[3] memory members = [ADA, BO, CY];
        for (uint256 i = 0; i < 3; i++) {
            VM.prank(members[i]);
            votes.delegate(members[i]);
        }
        VM.prank(ADA);
        votes.transfer(BO, first);
        VM.prank(BO);
        votes.transfer(CY, second);
        for (uint256 i = 0; i < 3; i++) {
            assertEq(votes.getVotes(members[i]), votes.balanceOf(members[i]));
        }
    }
}
