// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {Cast} from "./Cast.sol";

contract GovernanceTest is Cast {
    function test_only_governance_governs() public {
        VM.startPrank(COORDINATOR);
        bytes4 refusal = ISettlement.NotAuthorised.selector;
        VM.expectRevert(refusal);
        settlement.releaseBond(1);
        VM.expectRevert(refusal);
        settlement.halt();
        VM.expectRevert(refusal);
        settlement.restart(0, COORDINATOR);
        VM.expectRevert(refusal);
        settlement.compensate(1, 0);
        VM.expectRevert(refusal);
        settlement.setTrading(ADA);
        VM.expectRevert(refusal);
        settlement.setChallenges([ADA, ADA, ADA, ADA]);
        VM.expectRevert(refusal);
        settlement.setGuardian(ADA);
        VM.expectRevert(refusal);
        settlement.setTariffs(0, 0);
        VM.expectRevert(refusal);
        settlement.setBounds(ADA);
        VM.expectRevert(refusal);
        settlement.setOutflowCap(1);
    }

    function test_a_halt_stops_posting_and_deposits_until_the_restart() public {
        VM.prank(GOVERNANCE);
        settlement.halt();
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 1) * 900);
        VM.prank(COORDINATOR);
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.post(header);
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.deposit(1, 1);
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.halt();
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.restart(0, address(0));
        settlement.restart(0, BO);
        VM.expectRevert(ISettlement.NotHalted.selector);
        settlement.restart(0, BO);
        VM.stopPrank();
        assertEq(settlement.coordinator(), BO);
        VM.prank(BO);
        settlement.post(header);
    }

    function test_the_trading_contract_deposits_while_deposits_are_stopped() public {
        VM.startPrank(GOVERNANCE);
        settlement.halt();
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.deposit(1, 1);
        settlement.setTrading(address(this));
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.deposit(1, 1);
        VM.stopPrank();
        settlement.deposit(1, 7);
        assertEq(settlement.depositedNano(1), 7);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownAccount.selector, 3));
        settlement.deposit(3, 7);
        VM.prank(BO);
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.deposit(2, 1);
    }

    function test_the_guardian_halts_and_only_governance_restarts() public {
        VM.prank(GUARDIAN);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.halt();
        VM.prank(GOVERNANCE);
        settlement.setGuardian(GUARDIAN);
        assertEq(settlement.guardian(), GUARDIAN);
        VM.startPrank(GUARDIAN);
        settlement.halt();
        assertTrue(settlement.halted());
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.restart(0, COORDINATOR);
    }

    function test_nothing_begins_before_the_challenge_contracts_are_named() public {
        deploy(terms());
        assertTrue(settlement.halted());
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.deposit(1, 1);
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 1) * 900);
        VM.prank(COORDINATOR);
        VM.expectRevert(ISettlement.IsHalted.selector);
        settlement.post(header);
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(ISettlement.ChallengesNotSet.selector);
        settlement.restart(0, COORDINATOR);
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.setChallenges([ADA, ADA, ADA, address(0)]);
        settlement.setChallenges([ADA, BO, COURT, GUARDIAN]);
        VM.expectRevert(ISettlement.ChallengesAlreadySet.selector);
        settlement.setChallenges([ADA, BO, COURT, GUARDIAN]);
        VM.stopPrank();
        assertEq(settlement.challenges(3), GUARDIAN);
        post(header);
    }

    function test_the_trading_contract_is_named_once() public {
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.setTrading(address(0));
        settlement.setTrading(ADA);
        assertEq(settlement.trading(), ADA);
        VM.expectRevert(ISettlement.TradingAlreadySet.selector);
        settlement.setTrading(BO);
    }
}

contract VoidingTest is Cast {
    function test_a_won_challenge_voids_halts_and_splits_the_bond() public {
        post(nextHeader(emptyRoot()));
        bytes32 tip = settlement.tipDigest();
        settlement.postBond(1);
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        post(nextHeader(emptyRoot()));
        uint256 had = token.balanceOf(BO);
        voidFor(BO, proof);
        assertEq(token.balanceOf(BO) - had, BOND / 2);
        assertEq(settlement.fundNano(), BOND - BOND / 2 + 1);
        assertEq(settlement.bondNano(), 0);
        assertEq(settlement.headerCount(), 1);
        assertEq(settlement.tipDigest(), tip);
        assertEq(settlement.tipInterval(), FIRST);
        assertTrue(settlement.halted());
    }

    function test_only_the_four_challenge_contracts_void() public {
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        VM.prank(GOVERNANCE);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.voidHeader(proof, BO, ISettlement.Lie.Withheld, 1);
        VM.prank(address(0x73));
        settlement.voidHeader(proof, BO, ISettlement.Lie.Withheld, 1);
        assertEq(settlement.headerCount(), 0);
        assertEq(settlement.tipInterval(), 0);
        assertEq(settlement.tipDigest(), bytes32(0));
    }

    function test_a_final_header_is_never_void() public {
        ISettlement.HeaderProof memory proof = finalised(emptyRoot());
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyFinal.selector, 0));
        VM.prank(COURT);
        settlement.voidHeader(proof, BO, ISettlement.Lie.Withheld, 1);
    }

    function test_a_halt_does_not_stop_a_challenge() public {
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        VM.prank(GOVERNANCE);
        settlement.halt();
        voidFor(BO, proof);
        assertEq(settlement.headerCount(), 0);
    }

    function test_the_fund_compensates_accounts() public {
        voidFor(BO, post(nextHeader(emptyRoot())));
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownAccount.selector, 3));
        settlement.compensate(3, 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsFree.selector, BOND / 2));
        settlement.compensate(1, BOND / 2 + 1);
        settlement.compensate(1, BOND / 2);
        assertEq(settlement.depositedNano(1), BOND / 2);
        assertEq(settlement.fundNano(), 0);
    }

    function test_posting_restarts_only_with_a_new_bond() public {
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        voidFor(BO, proof);
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.BondTooSmall.selector, BOND - 1));
        settlement.restart(BOND - 1, COORDINATOR);
        settlement.restart(BOND, COORDINATOR);
        VM.stopPrank();
        VM.warp(block.timestamp + 5);
        ISettlement.HeaderProof memory again = post(proof.header);
        assertEq(again.index, 0);
        assertEq(settlement.postedAt(0), block.timestamp);
        voidFor(BO, again);
    }

    function test_the_chain_continues_where_it_was_cut() public {
        post(nextHeader(emptyRoot()));
        ISettlement.HeaderProof memory second = post(nextHeader(emptyRoot()));
        post(nextHeader(emptyRoot()));
        voidFor(BO, second);
        VM.prank(GOVERNANCE);
        settlement.restart(BOND, COORDINATOR);
        Messages.Header memory header = nextHeader(keccak256("other"));
        assertEq(header.previous, second.header.previous);
        assertEq(header.interval, second.header.interval);
        assertEq(post(header).index, 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownHeader.selector, 1));
        settlement.requirePosted(second);
    }
}
