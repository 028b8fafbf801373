// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {RateLimiter} from "@openzeppelin/contracts/utils/RateLimiter.sol";
import {EnergyToken} from "../src/EnergyToken.sol";
import {GovernanceCast} from "./GovernanceCast.sol";

contract EnergyTokenMintTest is GovernanceCast {
    bytes32 internal constant PAYMENT = keccak256("transfer 1");

    EnergyToken internal token;

    function setUp() public {
        token = new EnergyToken(address(this));
        token.grantRole(token.MINTER_ROLE(), address(this));
    }

    function test_there_is_no_limit_until_one_is_set() public {
        assertEq(token.mintable(), type(uint208).max);
        token.mint(ADA, type(uint208).max);
        VM.warp(block.timestamp + 1);
        token.mint(ADA, type(uint208).max);
    }

    function test_tokens_are_minted_once_against_a_payment() public {
        MORE_VM.expectEmit();
        emit EnergyToken.MintedAgainst(PAYMENT, ADA, 7);
        token.mintAgainst(PAYMENT, ADA, 7);
        assertTrue(token.isMintedAgainst(PAYMENT));
        VM.expectRevert(abi.encodeWithSelector(EnergyToken.AlreadyMinted.selector, PAYMENT));
        token.mintAgainst(PAYMENT, ADA, 7);
        assertEq(token.balanceOf(ADA), 7);
    }

    function test_what_is_paid_out_is_burnt() public {
        token.mint(ADA, 7);
        VM.prank(ADA);
        token.burn(5);
        assertEq(token.totalSupply(), 2);
        assertEq(token.decimals(), 9);
    }

    function test_only_a_minter_mints_and_only_the_admin_limits() public {
        bytes32 minter = token.MINTER_ROLE();
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, ADA, minter));
        token.mintAgainst(PAYMENT, ADA, 7);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, ADA, minter));
        token.mint(ADA, 7);
        VM.prank(ADA);
        VM.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, ADA, bytes32(0))
        );
        token.setMintLimit(1, 1);
    }

    function test_the_bucket_stops_a_minter_and_leaks_with_time() public {
        token.setMintLimit(1_000, 100);
        token.mint(ADA, 600);
        token.mintAgainst(PAYMENT, ADA, 400);
        VM.expectRevert(RateLimiter.RateLimitExceeded.selector);
        token.mint(ADA, 1);
        VM.warp(block.timestamp + 50);
        assertEq(token.mintable(), 500);
        token.mint(ADA, 500);
        VM.expectRevert(RateLimiter.RateLimitExceeded.selector);
        token.mint(ADA, 1);
    }

    function test_a_new_limit_does_not_reach_back() public {
        token.setMintLimit(1_000, 100);
        token.mint(ADA, 1_000);
        VM.warp(block.timestamp + 50);
        token.setMintLimit(2_000, 10);
        assertEq(token.mintable(), 1_500);
        token.setMintLimit(0, 10);
        VM.expectRevert(RateLimiter.RateLimitExceeded.selector);
        token.mint(ADA, 1);
    }

    function testFuzz_no_more_is_minted_than_the_capacity_and_what_leaked(uint64[8] memory amounts) public {
        token.setMintLimit(1_000, 100);
        for (uint256 i = 0; i < amounts.length; i++) {
            VM.warp(START + i * 12);
            uint256 amount = bound(amounts[i], 0, 1_200);
            uint256 allowed = token.mintable();
            if (amount > allowed) VM.expectRevert(RateLimiter.RateLimitExceeded.selector);
            token.mint(ADA, amount);
            assertTrue(token.balanceOf(ADA) <= 1_000 + 10 * 12 * i);
        }
    }
}
