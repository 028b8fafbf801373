// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

import {Settlement} from "../src/Settlement.sol";
import {IChallenges} from "../src/interfaces/IChallenges.sol";
import {ISettlement} from "../src/interfaces/ISettlement.sol";
import {MerkleSum} from "../src/libraries/MerkleSum.sol";
import {Messages} from "../src/libraries/Messages.sol";
import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {Cast} from "./Cast.sol";

contract CentToken is ERC20("Cent", "C") {
    function decimals() public pure override returns (uint8) {
        return 2;
    }
}

contract WeiToken is ERC20("Wei", "W") {
    constructor() {
        _mint(msg.sender, 1e30);
    }
}

contract AccountsTest is Cast {
    function test_account_0_is_the_suppliers_and_numbers_are_dense() public view {
        assertEq(settlement.ownerOf(0), GOVERNANCE);
        assertEq(settlement.accountOf(GOVERNANCE), 0);
        assertEq(settlement.accountOf(ADA), 1);
        assertEq(settlement.accountOf(BO), 2);
        assertEq(settlement.accountCount(), 3);
        assertEq(settlement.keyOf(1), VM.addr(ADA_KEY));
        assertEq(settlement.ownerOf(3), address(0));
        assertEq(settlement.keyOf(3), address(0));
    }

    function test_an_unknown_owner_has_no_account() public {
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownOwner.selector, address(7)));
        settlement.accountOf(address(7));
    }

    function test_only_the_registrar_opens_accounts() public {
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.openAccount(address(7), address(8));
    }

    function test_an_owner_has_one_account() public {
        VM.startPrank(REGISTRAR);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyOpened.selector, ADA));
        settlement.openAccount(ADA, address(8));
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyOpened.selector, GOVERNANCE));
        settlement.openAccount(GOVERNANCE, address(8));
    }

    function test_an_account_needs_an_owner_and_a_key() public {
        VM.startPrank(REGISTRAR);
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.openAccount(address(0), address(8));
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.openAccount(address(7), address(0));
    }

    function test_a_deposit_is_pooled() public {
        settlement.deposit(1, 5e9);
        settlement.deposit(1, 2e9);
        assertEq(settlement.depositedNano(1), 7e9);
        assertEq(settlement.pooledNano(), 7e9);
        assertEq(token.balanceOf(address(settlement)), BOND + 7e9);
    }

    function test_nothing_is_paid_into_an_unknown_account() public {
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownAccount.selector, 3));
        settlement.deposit(3, 1);
    }

    function test_an_amount_beyond_128_bits_is_refused() public {
        VM.expectPartialRevert(ISettlement.ExceedsFree.selector);
        settlement.deposit(1, uint256(type(uint128).max) + 1);
    }

    function test_deployment_refuses_what_cannot_work() public {
        CentToken cents = new CentToken();
        VM.expectRevert(abi.encodeWithSelector(ISettlement.TooFewDecimals.selector, 2));
        new Settlement(cents, GOVERNANCE, REGISTRAR, COORDINATOR, WINDOW_S, GRACE, BOND);
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        new Settlement(token, address(0), REGISTRAR, COORDINATOR, WINDOW_S, GRACE, BOND);
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        new Settlement(token, GOVERNANCE, address(0), COORDINATOR, WINDOW_S, GRACE, BOND);
        VM.expectRevert(ISettlement.ZeroAddress.selector);
        new Settlement(token, GOVERNANCE, REGISTRAR, address(0), WINDOW_S, GRACE, BOND);
    }

    function test_a_token_of_eighteen_decimals_is_counted_in_nano() public {
        WeiToken weis = new WeiToken();
        settlement = new Settlement(weis, GOVERNANCE, REGISTRAR, COORDINATOR, WINDOW_S, GRACE, BOND);
        weis.approve(address(settlement), type(uint256).max);
        settlement.deposit(0, 3);
        assertEq(settlement.tokenUnitsPerNano(), 1e9);
        assertEq(weis.balanceOf(address(settlement)), 3e9);
    }
}

contract HeadersTest is Cast {
    function test_a_header_is_posted_and_continues_the_chain() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        ISettlement.HeaderProof memory proof = post(header);
        assertEq(proof.index, 0);
        assertEq(settlement.tipDigest(), digestOf(header));
        assertEq(settlement.commitments(0), keccak256(abi.encode(digestOf(header), proof.postedAt)));
        assertEq(post(nextHeader(emptyRoot())).index, 1);
        assertEq(settlement.tipInterval(), FIRST + 1);
        assertEq(settlement.lastPostedAt(), block.timestamp);
    }

    /// @dev The gas snapshot watches this: the second header is the steady state.
    function test_posting_in_the_steady_state() public {
        post(nextHeader(emptyRoot()));
        post(nextHeader(emptyRoot()));
    }

    function test_only_the_coordinator_posts() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 1) * 900);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.post(header);
    }

    function test_a_header_of_the_future_or_out_of_turn_is_refused() public {
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.startPrank(COORDINATOR);
        VM.warp((uint256(FIRST) + 1) * 900 - 1);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.IntervalNotOver.selector, FIRST));
        settlement.post(header);
        header.interval = type(uint64).max;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.IntervalNotOver.selector, type(uint64).max));
        settlement.post(header);
        header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 9) * 900);
        settlement.post(header);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.NotAfterTip.selector, digestOf(header)));
        settlement.post(header);
        header = nextHeader(emptyRoot());
        header.interval = FIRST + 2;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.WrongInterval.selector, FIRST + 2));
        settlement.post(header);
    }

    function test_nothing_is_posted_without_its_bond() public {
        VM.prank(GOVERNANCE);
        settlement.releaseBond(1);
        Messages.Header memory header = nextHeader(emptyRoot());
        VM.warp((uint256(FIRST) + 1) * 900);
        VM.prank(COORDINATOR);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.BondTooSmall.selector, BOND - 1));
        settlement.post(header);
    }

    function test_bond_is_locked_while_a_header_is_open() public {
        settlement.postBond(5);
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.ExceedsFree.selector, 5));
        settlement.releaseBond(6);
        settlement.releaseBond(5);
        VM.warp(block.timestamp + WINDOW_S);
        settlement.finalise(proof);
        settlement.releaseBond(BOND);
        assertEq(settlement.bondNano(), 0);
        assertEq(token.balanceOf(GOVERNANCE), 1_000_000e9 + BOND + 5);
    }

    function test_only_governance_governs() public {
        VM.startPrank(COORDINATOR);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.releaseBond(1);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.halt();
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.restart(0, COORDINATOR);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.compensate(1, 0);
        VM.expectRevert(ISettlement.NotAuthorised.selector);
        settlement.setTrading(ADA);
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
        VM.prank(BO);
        settlement.post(header);
    }

    function test_a_header_is_final_after_its_window_and_takes_earlier_ones_along() public {
        ISettlement.HeaderProof memory first = post(nextHeader(emptyRoot()));
        ISettlement.HeaderProof memory second = post(nextHeader(bytes32(uint256(5))));
        VM.warp(uint256(second.postedAt) + WINDOW_S - 1);
        VM.expectRevert(
            abi.encodeWithSelector(ISettlement.StillChallengeable.selector, uint256(second.postedAt) + WINDOW_S)
        );
        settlement.finalise(second);
        VM.warp(block.timestamp + 1);
        settlement.finalise(second);
        assertEq(settlement.finalisedCount(), 2);
        assertEq(settlement.finalBalancesRoot(), bytes32(uint256(5)));
        VM.expectRevert(abi.encodeWithSelector(ISettlement.AlreadyFinal.selector, 0));
        settlement.finalise(first);
    }

    function test_an_altered_header_is_unknown() public {
        ISettlement.HeaderProof memory proof = post(nextHeader(emptyRoot()));
        VM.warp(block.timestamp + WINDOW_S);
        proof.header.tariffImport = 1;
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownHeader.selector, 0));
        settlement.finalise(proof);
    }

    function test_the_domain_follows_a_fork_of_the_chain() public {
        bytes32 before = settlement.domainSeparator();
        VM.chainId(77);
        assertTrue(settlement.domainSeparator() != before);
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
    IChallenges.AuctionProof internal none;

    function lie() internal returns (ISettlement.HeaderProof memory) {
        return post(nextHeader(MerkleSum.commitment(unbalancedRoot())));
    }

    function test_a_won_challenge_voids_halts_and_splits_the_bond() public {
        post(nextHeader(emptyRoot()));
        bytes32 tip = settlement.tipDigest();
        ISettlement.HeaderProof memory proof = lie();
        post(nextHeader(emptyRoot()));
        uint256 had = token.balanceOf(BO);
        VM.prank(BO);
        settlement.challengeTotals(proof, IChallenges.Tree.Balances, none, unbalancedRoot());
        assertEq(token.balanceOf(BO) - had, BOND / 2);
        assertEq(settlement.fundNano(), BOND - BOND / 2);
        assertEq(settlement.bondNano(), 0);
        assertEq(settlement.headerCount(), 1);
        assertEq(settlement.tipDigest(), tip);
        assertEq(settlement.tipInterval(), FIRST);
        assertTrue(settlement.halted());
    }

    function test_a_halt_does_not_stop_a_challenge() public {
        ISettlement.HeaderProof memory proof = lie();
        VM.prank(GOVERNANCE);
        settlement.halt();
        settlement.challengeTotals(proof, IChallenges.Tree.Balances, none, unbalancedRoot());
        assertEq(settlement.headerCount(), 0);
    }

    function test_the_fund_compensates_accounts() public {
        ISettlement.HeaderProof memory proof = lie();
        settlement.challengeTotals(proof, IChallenges.Tree.Balances, none, unbalancedRoot());
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
        ISettlement.HeaderProof memory proof = lie();
        settlement.challengeTotals(proof, IChallenges.Tree.Balances, none, unbalancedRoot());
        VM.startPrank(GOVERNANCE);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.BondTooSmall.selector, BOND - 1));
        settlement.restart(BOND - 1, COORDINATOR);
        settlement.restart(BOND, COORDINATOR);
        VM.stopPrank();
        assertEq(post(nextHeader(emptyRoot())).index, 0);
    }

    function test_the_same_lie_is_caught_again_after_the_restart() public {
        ISettlement.HeaderProof memory proof = lie();
        settlement.challengeTotals(proof, IChallenges.Tree.Balances, none, unbalancedRoot());
        VM.prank(GOVERNANCE);
        settlement.restart(BOND, COORDINATOR);
        VM.warp(block.timestamp + 5);
        ISettlement.HeaderProof memory again = post(proof.header);
        VM.expectRevert(abi.encodeWithSelector(ISettlement.UnknownHeader.selector, 0));
        settlement.challengeTotals(proof, IChallenges.Tree.Balances, none, unbalancedRoot());
        settlement.challengeTotals(again, IChallenges.Tree.Balances, none, unbalancedRoot());
    }
}
