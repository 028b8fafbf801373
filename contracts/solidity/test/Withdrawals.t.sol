// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";

contract WithdrawalsTest is Cast {
    function withdrawable(int128 ada, uint128 reserved) internal returns (MerkleSum.Node[] memory siblings) {
        bytes32 root;
        (root, siblings) = balancesOf(leafOf(1, ada, reserved), leafOf(2, -ada, 0), 1);
        ISettlement.HeaderProof memory proof = post(nextHeader(root));
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
    }

    function test_final_cash_leaves() public {
        settlement.deposit(1, 10e9);
        settlement.deposit(2, 10e9);
        MerkleSum.Node[] memory siblings = withdrawable(3e9, 1e9);
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(12e9)));
        settlement.withdraw(1, 12e9 + 1, leafOf(1, 3e9, 1e9), siblings);
        settlement.withdraw(1, 12e9, leafOf(1, 3e9, 1e9), siblings);
        assertEq(settlement.withdrawnNano(1), 12e9);
        assertEq(settlement.pooledNano(), 8e9);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(0)));
        settlement.withdraw(1, 1, leafOf(1, 3e9, 1e9), siblings);
    }

    function test_cash_below_zero_gives_nothing() public {
        settlement.deposit(1, 1e9);
        MerkleSum.Node[] memory siblings = withdrawable(-3e9, 0);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(-2e9)));
        settlement.withdraw(1, 1, leafOf(1, -3e9, 0), siblings);
    }

    function test_debts_of_others_are_not_paid_from_the_bond() public {
        settlement.deposit(1, 1e9);
        MerkleSum.Node[] memory siblings = withdrawable(3e9, 0);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.PoolShort.selector, 1e9));
        settlement.withdraw(1, 2e9, leafOf(1, 3e9, 0), siblings);
    }

    function test_only_the_owner_withdraws_and_only_by_his_own_leaf() public {
        settlement.deposit(1, 10e9);
        MerkleSum.Node[] memory siblings = withdrawable(3e9, 0);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.withdraw(1, 1, leafOf(1, 3e9, 0), siblings);
        VM.startPrank(ADA);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 4e9, 0), siblings);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(2, -3e9, 0), siblings);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 0, 0), siblings);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 3e9, 0), new MerkleSum.Node[](19));
    }

    function test_a_halt_does_not_stop_a_withdrawal() public {
        settlement.deposit(1, 10e9);
        MerkleSum.Node[] memory siblings = withdrawable(3e9, 0);
        VM.prank(GOVERNANCE);
        settlement.halt();
        VM.prank(ADA);
        settlement.withdraw(1, 10e9, leafOf(1, 3e9, 0), siblings);
    }

    function test_a_deposit_comes_back_when_no_header_was_ever_posted() public {
        settlement.deposit(1, 10e9);
        VM.startPrank(ADA);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 1, 0), new MerkleSum.Node[](0));
        settlement.withdraw(1, 10e9, leafOf(1, 0, 0), new MerkleSum.Node[](0));
    }

    function test_a_deposit_waits_while_the_first_header_is_open() public {
        settlement.deposit(1, 10e9);
        post(nextHeader(emptyRoot()));
        VM.prank(ADA);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 10e9, leafOf(1, 0, 0), new MerkleSum.Node[](0));
    }

    function test_an_account_that_never_traded_withdraws_by_its_empty_leaf() public {
        VM.prank(REGISTRAR);
        uint32 cy = settlement.openAccount(address(0xC1), address(0xC2));
        settlement.deposit(cy, 10e9);
        (bytes32 root,) = balancesOf(leafOf(1, 5, 0), leafOf(2, -5, 0), 1);
        ISettlement.HeaderProof memory proof = post(nextHeader(root));
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
        (, MerkleSum.Node[] memory siblings) = balancesOf(leafOf(1, 5, 0), leafOf(2, -5, 0), 2);
        // Account 3 stands beside account 2, under the same parent.
        siblings[0] = MerkleSum.Node({hash: MerkleSum.leafHash(Messages.pack(leafOf(2, -5, 0))), a: 0, b: 5, c: 0});
        VM.startPrank(address(0xC1));
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(cy, 10e9, leafOf(cy, 0, 7), siblings);
        settlement.withdraw(cy, 10e9, leafOf(cy, 0, 0), siblings);
    }

    function testFuzz_no_more_than_final_cash_ever_leaves(uint96 deposited, int96 earned, uint96 reserved, uint96 asked)
        public
    {
        VM.assume(earned > type(int96).min);
        token.mint(address(this), uint256(deposited) + type(uint96).max);
        settlement.deposit(1, deposited);
        settlement.deposit(2, type(uint96).max);
        MerkleSum.Node[] memory siblings = withdrawable(earned, reserved);
        int256 cash = int256(uint256(deposited)) + earned - int256(uint256(reserved));
        bool allowed = int256(uint256(asked)) <= cash;
        VM.prank(ADA);
        if (!allowed) VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, cash));
        settlement.withdraw(1, asked, leafOf(1, earned, reserved), siblings);
        assertEq(settlement.withdrawnNano(1), allowed ? asked : 0);
    }
}
