// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Cast} from "./Cast.sol";

contract EnergyTokenTest is Cast {
    bytes32 internal constant PERMIT_TYPE_HASH =
        keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)");

    function test_one_base_unit_is_one_nano() public view {
        assertEq(token.decimals(), 9);
        assertEq(settlement.tokenUnitsPerNano(), 1);
    }

    function test_only_a_minter_mints() public {
        VM.prank(ADA);
        VM.expectRevert();
        token.mint(ADA, 1);
        uint256 had = token.totalSupply();
        token.mint(ADA, 7);
        assertEq(token.totalSupply() - had, 7);
    }

    function test_a_holder_burns_his_own() public {
        uint256 had = token.balanceOf(ADA);
        VM.prank(ADA);
        token.burn(5);
        assertEq(had - token.balanceOf(ADA), 5);
    }

    function test_a_permit_is_an_allowance() public {
        address owner = VM.addr(ADA_KEY);
        bytes32 permit = keccak256(abi.encode(PERMIT_TYPE_HASH, owner, BO, 9, 0, block.timestamp));
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", token.DOMAIN_SEPARATOR(), permit));
        (uint8 v, bytes32 r, bytes32 s) = VM.sign(ADA_KEY, digest);
        token.permit(owner, BO, 9, block.timestamp, v, r, s);
        assertEq(token.allowance(owner, BO), 9);
    }
}
