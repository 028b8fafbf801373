// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Leaves} from "../src/libraries/Leaves.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";

contract WithdrawalsTest is Cast {
    /// @dev A final header in which Ada has earned and reserved that, and the path of her leaf.
    function withdrawable(int128 ada, uint128 reserved) internal returns (bytes memory path) {
        bytes32 root;
        (root, path) = balancesOf(leafOf(1, ada, reserved), leafOf(2, -ada, 0), 1);
        finalised(root);
    }

    function test_final_cash_leaves() public {
        settlement.deposit(1, 10e9);
        settlement.deposit(2, 10e9);
        bytes memory path = withdrawable(3e9, 1e9);
        VM.startPrank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(12e9)));
        settlement.withdraw(1, 12e9 + 1, leafOf(1, 3e9, 1e9), path);
        settlement.withdraw(1, 12e9, leafOf(1, 3e9, 1e9), path);
        assertEq(settlement.depositedNano(1), 10e9);
        assertEq(settlement.withdrawnNano(1), 12e9);
        assertEq(settlement.pooledNano(), 8e9);
        assertEq(token.balanceOf(ADA), 1_000_000e9 + 12e9);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(0)));
        settlement.withdraw(1, 1, leafOf(1, 3e9, 1e9), path);
    }

    function test_cash_below_zero_gives_nothing() public {
        settlement.deposit(1, 1e9);
        bytes memory path = withdrawable(-3e9, 0);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(-2e9)));
        settlement.withdraw(1, 1, leafOf(1, -3e9, 0), path);
    }

    function test_debts_of_others_are_not_paid_from_the_bond() public {
        settlement.deposit(1, 1e9);
        bytes memory path = withdrawable(3e9, 0);
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.PoolShort.selector, 1e9));
        settlement.withdraw(1, 2e9, leafOf(1, 3e9, 0), path);
    }

    function test_an_amount_beyond_88_bits_is_refused() public {
        VM.prank(ADA);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsFree.selector, type(uint88).max));
        settlement.withdraw(1, uint256(1) << 88, leafOf(1, 0, 0), "");
    }

    function test_only_the_owner_withdraws_and_only_by_his_own_leaf() public {
        settlement.deposit(1, 10e9);
        bytes memory path = withdrawable(3e9, 0);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.withdraw(1, 1, leafOf(1, 3e9, 0), path);
        VM.startPrank(ADA);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 4e9, 0), path);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(2, -3e9, 0), path);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 0, 0), path);
        VM.expectRevert(MerkleSum.WrongPath.selector);
        settlement.withdraw(1, 1, leafOf(1, 3e9, 0), "");
    }

    function test_a_halt_does_not_stop_a_withdrawal() public {
        settlement.deposit(1, 10e9);
        bytes memory path = withdrawable(3e9, 0);
        VM.prank(GOVERNANCE);
        settlement.halt();
        VM.prank(ADA);
        settlement.withdraw(1, 10e9, leafOf(1, 3e9, 0), path);
    }

    function test_a_deposit_comes_back_when_no_header_was_ever_posted() public {
        settlement.deposit(1, 10e9);
        VM.startPrank(ADA);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 1, 0), "");
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, leafOf(1, 0, 1), "");
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 1, Messages.BalanceLeaf(1, 0, 0, keccak256("list")), "");
        settlement.withdraw(1, 10e9, leafOf(1, 0, 0), "");
    }

    function test_a_deposit_waits_while_the_first_header_is_open() public {
        settlement.deposit(1, 10e9);
        post(nextHeader(emptyRoot()));
        VM.prank(ADA);
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(1, 10e9, leafOf(1, 0, 0), "");
    }

    function test_an_account_that_never_traded_withdraws_by_its_empty_leaf() public {
        VM.prank(REGISTRAR);
        uint32 cy = settlement.openAccount(address(0xC1), address(0xC2));
        settlement.deposit(cy, 10e9);
        (bytes32 root,) = balancesOf(leafOf(1, 5, 0), leafOf(2, -5, 0), 1);
        finalised(root);
        // Account 3 stands beside account 2, under the same parent; accounts 0 and 1 are beside that.
        MerkleSum.Node[] memory siblings = new MerkleSum.Node[](MerkleSum.DEPTH);
        MerkleSum.Node memory empty;
        siblings[0] = Leaves.node(leafOf(2, -5, 0));
        siblings[1] = MerkleSum.parent(empty, Leaves.node(leafOf(1, 5, 0)));
        bytes memory path = pathOf(siblings);
        VM.startPrank(address(0xC1));
        VM.expectRevert(ISettlement.NotInTree.selector);
        settlement.withdraw(cy, 10e9, leafOf(cy, 0, 7), path);
        settlement.withdraw(cy, 10e9, leafOf(cy, 0, 0), path);
    }

    function testFuzz_no_more_than_final_cash_ever_leaves(uint80 deposited, int80 earned, uint80 reserved, uint80 asked)
        public
    {
        VM.assume(earned > type(int80).min);
        token.mint(address(this), uint256(deposited) + type(uint80).max);
        settlement.deposit(1, deposited);
        settlement.deposit(2, type(uint80).max);
        bytes memory path = withdrawable(earned, reserved);
        int256 cash = int256(uint256(deposited)) + earned - int256(uint256(reserved));
        bool allowed = int256(uint256(asked)) <= cash;
        VM.prank(ADA);
        if (!allowed) VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, cash));
        settlement.withdraw(1, asked, leafOf(1, earned, reserved), path);
        assertEq(settlement.withdrawnNano(1), allowed ? asked : 0);
        assertEq(settlement.depositedNano(1), deposited);
    }
}

contract ReleaseTest is Cast {
    bytes internal path;

    function setUp() public override {
        super.setUp();
        settlement.deposit(1, 10e9);
        bytes32 root;
        (root, path) = balancesOf(leafOf(1, 0, 4e9), leafOf(2, 0, 0), 1);
        finalised(root);
    }

    function take(uint256 amountNano) internal {
        VM.prank(ADA);
        settlement.withdraw(1, amountNano, leafOf(1, 0, 4e9), path);
    }

    function test_reserves_are_free_once_no_header_came_for_the_agreed_time() public {
        VM.warp(uint256(settlement.lastPostedAt()) + RELEASE_S - 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(6e9)));
        take(6e9 + 1);
        VM.warp(block.timestamp + 1);
        assertTrue(settlement.isReleased());
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(10e9)));
        take(10e9 + 1);
        take(10e9);
    }

    function test_reserves_are_not_free_while_a_header_is_open() public {
        post(nextHeader(emptyRoot()));
        VM.warp(block.timestamp + RELEASE_S);
        assertTrue(!settlement.isReleased());
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsCash.selector, int256(6e9)));
        take(6e9 + 1);
    }

    function test_a_new_header_ends_the_release() public {
        VM.warp(uint256(settlement.lastPostedAt()) + RELEASE_S);
        assertTrue(settlement.isReleased());
        Messages.Header memory header = nextHeader(emptyRoot());
        post(header);
        assertTrue(!settlement.isReleased());
    }
}

contract OutflowTest is Cast {
    uint64 internal constant CAP = 40e9;

    function setUp() public override {
        ISettlement.Terms memory patient = terms();
        patient.releaseAfterS = 365 days;
        deploy(patient);
        VM.startPrank(GOVERNANCE);
        settlement.setChallenges([COURT, COURT, COURT, COURT]);
        settlement.setOutflowCap(CAP);
        VM.stopPrank();
        settlement.deposit(1, 600e9);
        settlement.deposit(2, 300e9);
        VM.warp(block.timestamp / 1 days * 1 days + 1 days);
    }

    function take(uint256 amountNano) internal {
        VM.prank(ADA);
        settlement.withdraw(1, amountNano, leafOf(1, 0, 0), "");
    }

    function refused(uint256 amountNano, uint256 freeNano) internal {
        uint256 nextDayS = (block.timestamp / 1 days + 1) * 1 days;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsOutflow.selector, freeNano, nextDayS));
        take(amountNano);
    }

    function test_what_exceeds_a_days_cap_is_free_the_next_day() public {
        assertEq(settlement.outflowCapNano(), CAP);
        assertEq(settlement.outflowFreeNano(), CAP);
        take(30e9);
        assertEq(settlement.outflowFreeNano(), CAP - 30e9);
        refused(10e9 + 1, 10e9);
        take(10e9);
        refused(1, 0);
        VM.warp(block.timestamp + 1 days - 1);
        refused(1, 0);
        VM.warp(block.timestamp + 1);
        take(CAP);
    }

    function test_the_cap_is_everybodys() public {
        take(CAP);
        VM.prank(BO);
        VM.expectPartialRevert(ISettlement.ExceedsOutflow.selector);
        settlement.withdraw(2, 1, leafOf(2, 0, 0), "");
    }

    function test_no_cap_holds_back_more_than_all_but_a_thirtieth_a_day() public {
        VM.prank(GOVERNANCE);
        settlement.setOutflowCap(1);
        assertEq(settlement.outflowFreeNano(), 30e9);
        take(20e9);
        assertEq(settlement.outflowFreeNano(), 10e9);
        refused(10e9 + 1, 10e9);
        take(10e9);
        VM.warp(block.timestamp + 1 days);
        assertEq(settlement.outflowFreeNano(), 29e9);
    }

    function test_a_cap_that_is_lowered_during_the_day_leaves_nothing() public {
        take(CAP);
        VM.prank(GOVERNANCE);
        settlement.setOutflowCap(1);
        assertEq(settlement.outflowFreeNano(), 0);
        refused(1, 0);
    }

    function test_without_a_cap_all_is_free() public {
        VM.prank(GOVERNANCE);
        settlement.setOutflowCap(0);
        assertEq(settlement.outflowFreeNano(), 900e9);
        take(600e9);
    }

    function test_a_cap_beyond_the_pool_leaves_the_pool() public {
        VM.prank(GOVERNANCE);
        settlement.setOutflowCap(type(uint64).max);
        assertEq(settlement.outflowFreeNano(), 900e9);
    }

    function test_the_cap_does_not_hold_once_reserves_are_released() public {
        take(CAP);
        VM.warp(uint256(settlement.lastPostedAt()) + 365 days);
        assertEq(settlement.outflowFreeNano(), 900e9 - CAP);
        take(600e9 - CAP);
    }

    /// @dev However withdrawals are cut and whatever cap is set, each day frees its part.
    function testFuzz_a_cap_delays_and_never_confiscates(uint64 cap, uint64 seed) public {
        cap = 1 + cap % 100e9;
        VM.prank(GOVERNANCE);
        settlement.setOutflowCap(cap);
        uint256 leftNano = 600e9;
        uint256 nowS = block.timestamp;
        for (uint256 day = 0; day < 20 && leftNano > 0; day++) {
            uint256 freeNano = settlement.outflowFreeNano();
            assertTrue(freeNano >= settlement.pooledNano() / 30 && freeNano >= cap);
            uint256 partNano = freeNano < leftNano ? freeNano : leftNano;
            uint256 firstNano = seed % (partNano + 1);
            take(firstNano);
            assertEq(settlement.outflowFreeNano(), freeNano - firstNano);
            take(partNano - firstNano);
            leftNano -= partNano;
            nowS += 1 days;
            VM.warp(nowS);
        }
        assertEq(settlement.withdrawnNano(1), 600e9 - leftNano);
        assertTrue(leftNano <= 300e9);
    }
}
